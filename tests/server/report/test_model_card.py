"""The model's card: both languages, every score with its n, no number that is not in the results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from emr_fl_server.report import model_card
from emr_fl_server.report.figures import count, decimal, percent

Results = dict[str, Any]


def test_both_languages(results: Results) -> None:
    chinese, english = model_card(results).split("\n---\n")
    for title in (
        "模型说明",
        "适用与不适用",
        "数据",
        "评测分数",
        "对照",
        "校准与判定",
        "局限",
        "隐私",
        "训练",
    ):
        assert f"## {title}\n" in chinese
    for title in (
        "What it is",
        "Intended use, and not",
        "Data",
        "Scores",
        "Beside it",
        "Calibration and decision",
        "Limits",
        "Privacy",
        "Training",
    ):
        assert f"## {title}\n" in english
    assert chinese.count("\n## ") == english.count("\n## ")


@pytest.mark.parametrize(
    "name, key", [("standard", "standard"), ("noisy", "noisy"), ("cross-site", "cross_site")]
)
def test_scores_with_their_n(results: Results, name: str, key: str) -> None:
    scores = results["sets"][key]
    (row,) = [line for line in model_card(results).splitlines() if line.startswith(f"| {name} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    drop = percent(scores["drop"]) if "drop" in scores else "–"
    assert cells == [
        name,
        count(scores["n"]),
        percent(scores["macro_f1"]),
        percent(scores["micro_f1"]),
        decimal(scores["pr_auc_macro"]),
        decimal(scores["ece"]),
        drop,
        percent(scores["chapter_macro_f1"]),
    ]


def test_every_number_comes_from_the_results(results: Results) -> None:
    card = model_card(results)
    written: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, str):
            written.update(re.findall(r"\d[\d.,]*\d|\d", value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            written.update({percent(value), decimal(value), count(value), str(value)})

    collect(results)
    written.add(count(len(results["sites"])))
    written.add(count(sum(site["n_train"] for site in results["sites"].values())))
    found = re.findall(r"\d[\d.,]*\d|\d", re.sub(r"F1", "", card))
    assert found and set(found) <= written


def test_sample_data_is_said(results: Results) -> None:
    card = model_card(results)
    assert card.count("not clinical performance") == 1 and card.count("不代表临床性能") == 1
    assert "clinical performance" not in model_card({**results, "sample_data": False})


@pytest.mark.parametrize(
    "part", ["baselines", "sets", "sites", "decision", "validation", "versions", "privacy", "cost"]
)
def test_missing_parts(results: Results, part: str) -> None:
    del results[part]
    card = model_card(results)
    assert "None" not in card and "nan" not in card.split()
    if part == "baselines":
        assert "## Beside it" not in card


def test_decisions(results: Results) -> None:
    assert "reaches" in model_card(results)
    results["decision"]["thresholds"] = [0.2, 0.4]
    assert "Every label has its own threshold" in model_card(results)
    results["decision"]["kind"] = "argmax"
    assert "The most probable label is given" in model_card(results)


def test_privacy(results: Results) -> None:
    assert "No differential privacy" in model_card(results)
    results["privacy"] = {"epsilon": 7.5, "delta": 1e-05}
    assert "ε = 7.5, δ = 1e-05" in model_card(results)
    assert "Secure aggregation" not in model_card(results)
    results["privacy"]["secure_aggregation"] = "hostile"
    assert "Secure aggregation: the server saw sums of updates only, mode hostile" in model_card(results)


def test_names_do_not_break_the_markdown(results_of: Callable[..., Results]) -> None:
    results = results_of()
    results["name"] = results["model"] = "x\n# <script>|`*[a](b)"
    card = model_card(results)
    assert "<script" not in card
    assert card.splitlines()[0] == "# 模型卡：x  scripta(b)"
