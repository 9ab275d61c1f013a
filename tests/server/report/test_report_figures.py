"""Every number on the page stands in results.json, or is calculated from there as the page says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from emr_fl_server.report.figures import Figures, points, seconds, short, size
from emr_fl_server.report.page import render
from emr_fl_server.report.reading import Results as Read

Results = dict[str, Any]

FIXED = re.compile(r"ICD-10|(macro-|micro-)?F1|1–4|results\.json|PR-AUC|95%")
"""Digits in running text that are no figures."""

NUMBER = re.compile(r"[+−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def look_up(results: Any, place: str) -> Any:
    """RFC 6901, written again for the test."""
    for part in place.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        results = results[int(part)] if isinstance(results, list) else results[part]
    return results


def value_of(results: Results, places: list[str], of: str) -> Any:
    found = [look_up(results, place) for place in places]
    match of:
        case "":
            (only,) = found
            return only
        case "difference":
            first, second = found
            return first - second
        case "sum":
            return sum(found)
        case "mean":
            return sum(found) / len(found)
        case "product":
            return math.prod(found)
        case "rest":
            return found[0] - sum(found[1:])
        case "length":
            (only,) = found
            return len(only)
    raise AssertionError(f"unknown calculation {of}")


def shown(text: str, form: str) -> tuple[float, float]:
    """What a text says in the unit of results.json, and half of its last digit."""
    if form == "seconds":
        parts = {unit: float(value) for value, unit in re.findall(r"([\d.]+) (h|min|s)\b", text)}
        half = 30.0 if "h" in parts else 0.5 if "." not in text else 0.05
        return parts.get("h", 0) * 3600 + parts.get("min", 0) * 60 + parts.get("s", 0), half
    match = NUMBER.search(text)
    assert match, text
    digits = match.group().replace(",", "").replace("−", "-")
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    scale = 1.0
    if form in ("percent", "points"):
        scale = 0.01
    elif form == "size":
        scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[text[match.end() :].split()[0]]
    elif form == "memory":
        scale = {"MB": 1, "GB": 1e3}[text[match.end() :].split()[0]]
    elif form == "general":
        return float(digits), 0.0
    return float(digits) * scale, half * scale


def check_figures(page: str, results: Results, parsed: Callable[[str], Any]) -> int:
    """Look up every marked figure; returns how many there were."""
    found = 0
    for node in parsed(page).walk():
        marked, form = node.attributes.get("data-figure"), node.attributes.get("data-format", "")
        if marked is not None:
            value = value_of(results, marked.split("\n"), node.attributes.get("data-of", ""))
            if form == "text":
                assert node.text == str(value)
            elif form == "time":
                assert node.text == value[:16].replace("T", " ")
            else:
                said, half = shown(node.text, form)
                assert said == pytest.approx(value, abs=half * 1.000001, rel=1e-9), (marked, node.text)
            found += 1
        if "data-tip-en" in node.attributes:
            groups = node.attributes["data-tip-figure"].split("\n\n")
            forms = node.attributes["data-tip-format"].split("\n")
            for group, described in zip(groups, forms, strict=True):
                form, _, of = described.partition(" ")
                value = value_of(results, group.split("\n"), of)
                for language in ("en", "zh"):
                    tip = node.attributes[f"data-tip-{language}"]
                    texts = re.findall(
                        r"\d+ h \d+ min|\d+ min \d+ s|[\d.,]+ s\b|[+−]?[\d,.]*\d(?: [kMGT]?B)?", tip
                    )
                    said = [shown(text, form) for text in texts if form != "size" or text.endswith("B")]
                    assert any(abs(one - value) <= half * 1.000001 for one, half in said), (tip, value)
            found += 1
    return found


def unmarked_digits(page: str, results: Results, parsed: Callable[[str], Any]) -> list[str]:
    """Texts with digits that neither are marked as figures nor stand in the results as text."""
    texts: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            texts.update(str(key) for key in value)
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, str):
            texts.add(value)

    collect(results)
    left = []
    for node in parsed(page).walk():
        if node.inside(
            lambda one: (
                one.tag in ("script", "style")
                or "data-figure" in one.attributes
                or "data-settings" in one.attributes
                or "tick" in one.classes
            )
        ):
            continue
        for child in node.children:
            if not isinstance(child, str) or not re.search(r"\d", FIXED.sub("", child)):
                continue
            text = child.strip()
            known = any(
                text == one or (text.endswith("…") and one.startswith(text[:-1].rstrip())) for one in texts
            )
            if not known and not text.startswith(results.get("name", "?") + " · ") and text != "cpu · bf16":
                left.append(text)
    return left


@pytest.mark.parametrize("labels, rounds, sites", [(12, 6, 4), (50, 16, 4), (2, 1, 1), (300, 40, 14)])
def test_every_number_comes_from_the_results(
    results_of: Callable[..., Results], parsed: Callable[[str], Any], labels: int, rounds: int, sites: int
) -> None:
    results = results_of(labels=labels, rounds=rounds, sites=sites)
    page = render(results, {}, opens_in="en")
    assert check_figures(page, results, parsed) > 150
    assert unmarked_digits(page, results, parsed) == []


def test_a_wrong_number_is_found(results: Results, parsed: Callable[[str], Any]) -> None:
    page = render(results, {}, opens_in="en")
    results["sets"]["noisy"]["macro_f1"] += 0.001
    with pytest.raises(AssertionError):
        check_figures(page, results, parsed)
    assert unmarked_digits(page.replace("</footer>", "<p>99.9</p></footer>"), results, parsed) == ["99.9"]


@pytest.mark.parametrize(
    "place",
    [
        "/sets/standard/macro_f1",
        "/sets/noisy/drop",
        "/sets/adversarial/success_rate",
        "/sets/cross_site/ece",
        "/best_round",
        "/baselines/tfidf_balanced_pooled/noisy/macro_f1",
        "/baselines/tfidf_balanced_local/standard/macro_f1",
        "/baselines/federated_plain/noisy/macro_f1",
        "/sites/hospital-a/tfidf_local/noisy/macro_f1",
        "/sites/hospital-b/macro_f1",
        "/sites/hospital-b/train_s",
        "/cost/bytes_up_per_round",
        "/cost/train_wall_s",
        "/cost/aggregate_s",
        "/history/1/round",
        "/per_label/11/f1",
        "/reliability/3/accuracy",
        "/decision/threshold",
        "/seed",
        "/versions/flwr",
        "/sets/standard/macro_f1_interval/0",
        "/sets/noisy/weighted_f1",
        "/sets/cross_site/tail_f1",
        "/sets/noisy/subset_accuracy",
        "/sets/standard/brier",
        "/sets/noisy/ece_labelwise_mass",
        "/per_label/3/pr_auc",
        "/noise_curve/points/26/macro_f1",
        "/noise_curve/points/26/macro_f1_interval/1",
        "/noise_curve/points/4/touched",
        "/fairness/smallest_count",
        "/fairness/sets/standard/2/groups/3/micro_f1",
        "/fairness/sets/standard/1/gap/macro_f1/difference",
        "/fairness/sets/cross_site/0/groups/1/macro_f1_interval/0",
        "/comparisons/8/interval/0",
        "/comparisons/2/p_holm",
        "/bootstrap/resamples",
    ],
)
def test_the_page_shows(results: Results, parsed: Callable[[str], Any], place: str) -> None:
    page = parsed(render(results, {}, opens_in="en"))
    assert any(node.attributes.get("data-figure") == place for node in page.walk())


def test_gains_are_differences_before_rounding(results: Results) -> None:
    results["sets"]["noisy"]["macro_f1"] = 0.6254
    results["baselines"]["tfidf_balanced_pooled"]["noisy"]["macro_f1"] = 0.6246
    figure = Figures(Read(results)).difference(
        "points", ("sets", "noisy", "macro_f1"), ("baselines", "tfidf_balanced_pooled", "noisy", "macro_f1")
    )
    # 62.5 and 62.5 when rounded, but .08 points apart.
    assert figure.text == "+0.1"
    assert figure.value == pytest.approx(0.0008)


@pytest.mark.parametrize(
    "form, value, text",
    [
        (points, 0.0321, "+3.2"),
        (points, -0.0321, "−3.2"),
        (points, -0.0004, "0.0"),
        (points, 0.0, "0.0"),
        (seconds, 0.81, "0.8 s"),
        (seconds, 9.97, "10 s"),
        (seconds, 59.6, "1 min 00 s"),
        (seconds, 245, "4 min 05 s"),
        (seconds, 3599.6, "1 h 00 min"),
        (seconds, 86399, "24 h 00 min"),
        (size, 999, "999 B"),
        (size, 999_999, "1.0 MB"),
        (size, 16_900_000, "16.9 MB"),
        (size, 408_000_000, "408 MB"),
        (short, 71.43, "71.4"),
        (short, 1234.4, "1,234"),
    ],
)
def test_how_a_number_is_written(form: Callable[[float], str], value: float, text: str) -> None:
    assert form(value) == text


def test_what_is_missing_is_no_figure() -> None:
    figures = Figures(Read({"a": None, "b": True, "c": "5", "d": float("nan"), "e": {"f": 1}}))
    for name in ("a", "b", "c", "d", "e", "missing"):
        assert not figures.of("percent", name)
    assert not figures.total("size", [("e", "f"), ("a",)])
    assert not figures.difference("points", ("e", "f"), ("d",))
    assert figures.mean("percent", [("e", "f"), ("a",)]).value == 1
    assert not figures.rest("seconds", ("e", "f"), [("e", "f"), ("e", "f")]), "parts that exceed the whole"


def test_page_holds_json_pointers_for_odd_names(results: Results, parsed: Callable[[str], Any]) -> None:
    results["sites"] = {"a/b~c d": results["sites"]["hospital-a"]}
    page = render(results, {}, opens_in="zh")
    assert 'data-figure="/sites/a~1b~0c d/n_train"' in page
    check_figures(page, results, parsed)
    assert json.dumps(results)
