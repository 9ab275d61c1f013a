"""What the page says about the work: sites, what went over the wire, time, privacy, settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from emr_fl_server.report.charts import SERIES, responsive
from emr_fl_server.report.charts.dumbbells import SiteGain, sites_chart
from emr_fl_server.report.charts.exchange import SiteBox, Traffic, exchange_chart
from emr_fl_server.report.charts.times import Part, times_chart
from emr_fl_server.report.figures import Figure, Figures, Place
from emr_fl_server.report.reading import Results, without_nonfinite
from emr_fl_server.report.sections import Context
from emr_fl_server.report.svg import Words

BEFORE_AFTER = ("standard", "noisy")
_SECRET = re.compile(
    r"secret|token|password|passphrase|credential|^query$|(^|_)(api_?|private_?|hmac_?|pseudonym_?)?key$",
    re.I,
)
HIDDEN = "••••••"

LEAVES: tuple[tuple[str, Words], ...] = (
    (
        "update",
        Words(
            "the update: the difference of every weight to the round's model; under SCAFFOLD, where its policy shares it, the mean "
            "gradient of every weight, too",
            "模型更新：每个权重与本轮模型之差；使用 SCAFFOLD 且机构策略允许时，还有每个权重的平均梯度",
        ),
    ),
    ("site", Words("the site's name", "机构名")),
    ("examples", Words("number of training records", "训练记录数")),
    ("validation_examples", Words("number of its own validation records", "本机构验证记录数")),
    (
        "epsilon delta unit",
        Words(
            "under differential privacy: ε and δ that its budget has spent, and whether of records or of patients",
            "采用差分隐私时：其预算已消耗的 ε 与 δ，以及按记录还是按患者计",
        ),
    ),
    ("single_label", Words("whether every record has exactly one label", "是否每条记录只有一个标签")),
    ("loss", Words("mean training loss, where its policy shares scores", "平均训练损失（机构策略允许时）")),
    (
        "received",
        Words(
            "macro-F1 and micro-F1 of the received model on its own validation records, where its policy shares scores",
            "所收模型在本机构验证记录上的 macro-F1 与 micro-F1（机构策略允许时）",
        ),
    ),
    (
        "label_counts effective_labels",
        Words(
            "training records of each label, or one weight made of them: only where asked for and its policy shares them",
            "各标签的训练记录数，或由其算得的一个权重（仅在被请求且机构策略允许时）",
        ),
    ),
    ("steps seconds", Words("training steps and seconds", "训练步数与秒数")),
    (
        "device precision peak_rss_mb",
        Words("kind of device, precision, peak memory", "设备类型、精度、内存峰值"),
    ),
    ("emr_fl python torch", Words("versions of emr-fl, Python and torch", "emr-fl、Python 与 torch 的版本")),
    (
        "labels",
        Words(
            "names of labels with at least its policy's smallest count, only where the label set comes from the data",
            "达到机构策略最小计数的标签名（仅当标签集取自数据时）",
        ),
    ),
)
"""What a site's replies hold, by the names of their fields; a test compares them with `wire.py`."""


def sites(results: Results, figures: Figures) -> Context | None:
    """Each site before and after."""
    names = list(results.mapping("sites"))
    if not names:
        return None
    names.sort(key=lambda name: (-(results.number("sites", name, "n_train") or 0), name))
    sets = [key for key in BEFORE_AFTER if results.number("sets", key, "macro_f1") is not None]
    rows, gains = [], []
    refusals = _refusals(results)
    for name in names:
        place: Place = ("sites", name)
        before = {key: figures.of("percent", *place, "tfidf_local", key, "macro_f1") for key in sets}
        gain = {
            key: figures.difference(
                "points", ("sets", key, "macro_f1"), (*place, "tfidf_local", key, "macro_f1")
            )
            for key in sets
        }
        after = {key: figures.of("percent", "sets", key, "macro_f1") for key in sets}
        if any(figure.value is not None for figure in before.values()):
            gains.append(SiteGain(name, before, after, gain))
        rows.append(
            {
                "name": name,
                "n_train": figures.of("count", *place, "n_train"),
                "n_validation": figures.of("count", *place, "n_validation"),
                "own": figures.of("percent", *place, "macro_f1"),
                "alone": figures.of("percent", *place, "local_only_macro_f1"),
                "before": [before[key] for key in sets],
                "gain": [gain[key] for key in sets],
                "train": figures.of("seconds", *place, "train_s"),
                "rounds": figures.of("count", *place, "rounds"),
                "memory": figures.of("memory", *place, "peak_rss_mb"),
                "device": " · ".join(
                    text
                    for text in (results.text(*place, "device"), results.text(*place, "precision"))
                    if text
                ),
                "refused": refusals.pop(name, []),
            }
        )
    rows += [
        {**_nothing(figures, name, len(sets)), "refused": found} for name, found in sorted(refusals.items())
    ]
    label = Words(
        "macro-F1 of each site's own TF-IDF model and of the global model; the table below has the numbers",
        "各机构自有 TF-IDF 模型与全局模型的 macro-F1；数值见下表",
    )
    return {
        "rows": rows,
        "sets": [SERIES[key] for key in sets],
        "after": [figures.of("percent", "sets", key, "macro_f1") for key in sets],
        "alone": any(row["alone"] for row in rows),
        "refused": any(row["refused"] for row in rows),
        "chart": responsive(lambda width: sites_chart(gains, sets, label, width)) if gains and sets else None,
    }


def exchange(results: Results, figures: Figures) -> Context | None:
    """What went over the wire."""
    up, down = (
        figures.of("size", "cost", "bytes_up_per_round"),
        figures.of("size", "cost", "bytes_down_per_round"),
    )
    if not up and not down:
        return None
    history = results.items("history")
    sent: list[Place] = [("history", index, "cost", "bytes_up") for index in range(len(history))]
    received: list[Place] = [("history", index, "cost", "bytes_down") for index in range(len(history))]
    total_up = figures.total("size", sent)
    total_down = figures.total("size", received)
    known = [
        name for name in results.mapping("sites") if results.number("sites", name, "n_train") is not None
    ]
    known.sort(key=lambda name: (-(results.number("sites", name, "n_train") or 0), name))
    boxes = [
        SiteBox(
            name,
            figures.total("count", [("sites", name, "n_train"), ("sites", name, "n_validation")])
            or figures.of("count", "sites", name, "n_train"),
        )
        for name in known
    ]
    label = Words(
        "the coordinator and the sites: the model goes down, updates come up, records stay",
        "协调方与各机构：模型下发，更新上传，记录留在院内",
    )
    total = figures.length("sites")
    return {
        "up": up,
        "down": down,
        "total_up": total_up or figures.product("size", [("cost", "bytes_up_per_round"), ("rounds",)]),
        "total_down": total_down or figures.product("size", [("cost", "bytes_down_per_round"), ("rounds",)]),
        "rows": [
            {
                "round": figures.of("count", "history", index, "round"),
                "up": figures.of("size", "history", index, "cost", "bytes_up"),
                "down": figures.of("size", "history", index, "cost", "bytes_down"),
                "sites": figures.length("history", index, "sites"),
                "refused": figures.length("history", index, "refused"),
            }
            for index in range(len(history))
            if results.number("history", index, "cost", "bytes_up") is not None
        ],
        "chart": responsive(lambda width: exchange_chart(boxes, total, Traffic(down, up), label, width))
        if boxes
        else None,
    }


def times(results: Results, figures: Figures) -> Context | None:
    """How long each part took."""
    pieces: tuple[tuple[str, str, Words], ...] = (
        ("train", "train_wall_s", Words("Training at the sites", "各机构训练")),
        ("aggregate", "aggregate_s", Words("Aggregation", "聚合")),
        ("evaluate", "evaluate_s", Words("Evaluation", "评测")),
    )
    parts = [Part(key, name, figures.of("seconds", "cost", field)) for key, field, name in pieces]
    parts = [part for part in parts if part.seconds]
    if not parts:
        return None
    other = figures.rest("seconds", ("cost", "wall_s"), [("cost", field) for _, field, _ in pieces])
    if other.value:
        parts.append(
            Part("other", Words("Other: starting, reading, saving", "其他：启动、读取、保存"), other)
        )
    label = Words(
        "how the time was spent; the list beside it has the numbers", "时间的去向；数值见旁边的列表"
    )
    history = results.items("history")
    return {
        "parts": parts,
        "wall": figures.of("seconds", "cost", "wall_s"),
        "resumed": other.value is None and results.number("cost", "wall_s") is not None,
        "train": figures.of("seconds", "cost", "train_s"),
        "baselines": figures.of("seconds", "cost", "baselines_s"),
        "server_memory": figures.of("memory", "cost", "server_peak_rss_mb"),
        "site_memory": figures.of("memory", "cost", "sites_peak_rss_mb"),
        "rows": [
            {
                "round": figures.of("count", "history", index, "round"),
                "parts": [figures.of("seconds", "history", index, "cost", field) for _, field, _ in pieces],
            }
            for index in range(len(history))
            if results.mapping("history", index, "cost")
        ],
        "columns": [name for _, _, name in pieces],
        "chart": responsive(lambda width: times_chart(parts, label, width)),
    }


UNITS: Mapping[str, Words] = {
    "record": Words("one record", "一条记录"),
    "patient": Words("one patient", "一名患者"),
    "site": Words("one site", "一家机构"),
}
"""Whose influence ε bounds."""


def privacy(results: Results, figures: Figures) -> Context:
    """The privacy budget and what it is of, or that there is none."""
    return {
        "epsilon": figures.of("general", "privacy", "epsilon"),
        "delta": figures.of("general", "privacy", "delta"),
        "unit": UNITS.get(results.text("privacy", "unit")),
        "accountant": results.text("privacy", "accountant").upper(),
        "most": figures.of("count", "privacy", "records_per_patient"),
        "central": {
            "epsilon": figures.of("general", "privacy", "central", "epsilon"),
            "delta": figures.of("general", "privacy", "central", "delta"),
            "unit": UNITS.get(results.text("privacy", "central", "unit")),
            "accountant": results.text("privacy", "central", "accountant").upper(),
        },
    }


def settings_table(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(section, [(key, value)]): dotted keys; secrets and queries hidden, absolute paths and URLs cut to their last part."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, value in _flattened(without_nonfinite(settings), ""):
        section, _, _ = key.partition(".")
        top = section if "." in key else ""
        found.setdefault(top, []).append(
            (key, HIDDEN if _SECRET.search(key.rpartition(".")[2]) else _shown(value))
        )
    return sorted(found.items())


def _flattened(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            pair
            for key, item in value.items()
            for pair in _flattened(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, value)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, str):
        if "://" in value:
            return f"…/{value.partition('?')[0].rpartition('/')[2]}"
        for kind in (PurePath, PureWindowsPath):
            path = kind(value)
            if path.is_absolute():
                return f"…/{path.name}"
    return str(value)


def _refusals(results: Results) -> dict[str, list[tuple[Figure, str]]]:
    """By site: the round and the reason of every update that was refused."""
    figures = Figures(results)
    found: dict[str, list[tuple[Figure, str]]] = {}
    for index in range(len(results.items("history"))):
        for site, reason in results.mapping("history", index, "refused").items():
            found.setdefault(site, []).append(
                (figures.of("count", "history", index, "round"), str(reason)[:300])
            )
    return found


def _nothing(figures: Figures, name: str, sets: int) -> Context:
    """The row of a site of which nothing but refused updates is known."""
    missing = figures.of("count", "sites", name, "")
    return {
        "name": name,
        "device": "",
        "before": [missing] * sets,
        "gain": [missing] * sets,
        **dict.fromkeys(("n_train", "n_validation", "own", "alone", "train", "rounds", "memory"), missing),
    }
