"""The table that a run ends with on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emr_fl_shared.messages import tr


def summary(results: Mapping[str, Any], folder: Path) -> str:
    """The table at the end: macro-F1 in per cent of the method and of what stands beside it."""
    sets, baselines = results["sets"], results["baselines"]
    columns = [
        ("standard", tr("standard", "标准")),
        ("noisy", tr("noisy", "噪声")),
        ("adversarial", tr("adversarial", "对抗")),
        ("cross_site", tr("cross-site", "跨机构")),
    ]
    columns = [(key, name) for key, name in columns if key in sets]
    rows: list[tuple[str, Mapping[str, Any]]] = [(tr("federated, full method", "联邦，完整方法"), sets)]
    names = {
        "federated_plain": tr("federated, plain", "联邦，无增强与对抗"),
        "tfidf_balanced_local": tr("TF-IDF, each site alone (mean)", "TF-IDF，各机构单独（均值）"),
        "tfidf_balanced_pooled": tr("TF-IDF, pooled (no hospital may)", "TF-IDF，汇总数据（现实中不可行）"),
    }
    rows += [(name, baselines[key]) for key, name in names.items() if key in baselines]
    width = max(_width(name) for name, _ in rows)
    lines = [
        "",
        _pad("macro-F1 %", width) + "".join(_pad(name, 13, right=True) for _, name in columns),
    ]
    for name, scores in rows:
        cells = [f"{100 * scores[key]['macro_f1']:.1f}" if key in scores else "–" for key, _ in columns]
        lines.append(_pad(name, width) + "".join(cell.rjust(13) for cell in cells))
    cost = results["cost"]
    seconds = cost["wall_s"] + cost.get("baselines_s", 0.0)
    ece = sets["standard"]["ece"]
    n = sets["standard"]["n"]
    lines += [
        "",
        tr(
            f"n = {n} standard notes, seed {results['seed']}, {results['rounds']} rounds (best: {results['best_round']}), "
            f"ECE {ece:.3f}, {seconds:.0f} s",
            f"标准集 n = {n}，种子 {results['seed']}，{results['rounds']} 轮（最佳：第 {results['best_round']} 轮），"
            f"ECE {ece:.3f}，用时 {seconds:.0f} 秒",
        ),
    ]
    if results["sample_data"]:
        lines.append(
            tr(
                "The data are invented by emr-fl: these scores say nothing about clinical performance.",
                "数据由 emr-fl 虚构生成：这些得分不代表临床性能。",
            )
        )
    lines.append(f"{tr('report', '报告')}: {(folder / 'report.html').resolve()}")
    return "\n".join(lines)


def _width(text: str) -> int:
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def _pad(text: str, width: int, *, right: bool = False) -> str:
    space = " " * max(0, width - _width(text))
    return space + text if right else text + space
