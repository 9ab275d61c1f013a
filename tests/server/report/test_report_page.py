"""The page as a whole: valid, complete in itself, safe, in two languages, with whatever is missing left out."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emr_fl_server.report import write_report
from emr_fl_server.report.operations import HIDDEN, LEAVES, settings_table
from emr_fl_server.report.page import render
from emr_fl_server.report.palette import DARK, LIGHT
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import set_language
from emr_fl_shared.wire import DescribeReply, EvaluateReply, TrainReply

Results = dict[str, Any]
Parse = Callable[[str], Any]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u202e\x07'


def check_page(page: str, parsed: Parse) -> Any:
    """Balanced, one title and one h1, unique ids, links that lead somewhere, headings in order, nothing fetched."""
    root = parsed(page)
    nodes = root.walk()
    tags = [node.tag for node in nodes]
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        for name in ("aria-labelledby", "for"):
            if name in node.attributes:
                assert node.attributes[name] in ids
        if node.tag == "a":
            assert node.attributes["href"].removeprefix("#") in ids
        if node.tag == "svg":
            assert node.attributes.get("aria-hidden") == "true" or (
                node.attributes["role"] == "img" and node.attributes["aria-label"]
            )
        if node.tag == "th":
            assert node.attributes.get("scope") in ("col", "row")
        assert not any(name.startswith("on") for name in node.attributes)
        assert "src" not in node.attributes
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert (
        "undefined" not in page.replace("undefined=", "")
        and ">None<" not in page
        and ">nan<" not in page.lower()
    )
    return root


@pytest.mark.parametrize("language", ["zh", "en"])
def test_it_is_valid_and_complete_in_itself(results: Results, parsed: Parse, language: str) -> None:
    check_page(render(results, {"seed": 3}, opens_in=language), parsed)


def test_only_its_own_script_may_run(results: Results, parsed: Parse) -> None:
    root = parsed(render(results, {}, opens_in="en"))
    (script,) = [node for node in root.walk() if node.tag == "script"]
    (policy,) = [
        node.attributes["content"]
        for node in root.walk()
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def hostile(results: Results) -> Results:
    results["name"] = results["model"] = results["taxonomy"] = HOSTILE
    results["versions"] = {HOSTILE: HOSTILE}
    results["sites"] = {HOSTILE: results["sites"]["hospital-a"], "b": results["sites"]["hospital-b"]}
    results["sites"]["b"]["device"] = HOSTILE
    results["history"][1]["refused"] = {HOSTILE: HOSTILE, "stranger": HOSTILE}
    for row in results["per_label"]:
        row["zh"] = row["en"] = HOSTILE
    results["per_label"][0]["group"] = HOSTILE
    results["noise_curve"]["points"][0]["kind"] = HOSTILE
    (entry, *_) = results["fairness"]["sets"]["standard"]
    entry["by"] = entry["groups"][0]["group"] = entry["gap"]["macro_f1"]["best"] = HOSTILE
    return results


def test_hostile_names_stay_text(results: Results, parsed: Parse) -> None:
    root = check_page(render(hostile(results), {HOSTILE: {"key": HOSTILE}}, opens_in="en"), parsed)
    assert [node.tag for node in root.walk()].count("script") == 1
    assert "img" not in [node.tag for node in root.walk()]
    text = root.text
    assert '"><script>alert(1)</script>' in text, "shown as it is, not dropped"
    assert "\u202e" not in text and "\x07" not in text
    for node in root.walk():
        assert "onerror" not in node.attributes


def test_thresholds_a_label_are_said(results: Results, parsed: Parse) -> None:
    said = "Every label has a threshold of its own"
    assert said not in render(results, {}, opens_in="en")
    results["decision"]["thresholds"] = [0.2, 0.4]
    page = render(results, {}, opens_in="en")
    check_page(page, parsed)
    assert said in page


MISSING = [
    "baselines",
    "history",
    "per_label",
    "reliability",
    "sites",
    "cost",
    "privacy",
    "decision",
    "validation",
    "sets",
    "versions",
    "created",
    "name",
    "best_round",
    "rounds_planned",
    "noise_curve",
    "fairness",
    "comparisons",
    "bootstrap",
]


@pytest.mark.parametrize("how", ["left out", "null", "empty", "wrong kind"])
@pytest.mark.parametrize("part", MISSING)
def test_a_missing_part_is_left_out(results: Results, parsed: Parse, part: str, how: str) -> None:
    if how == "left out":
        del results[part]
    else:
        kept = results[part]
        results[part] = None if how == "null" else (type(kept)() if how == "empty" else [1, "x", None])
    root = check_page(render(results, {}, opens_in="zh"), parsed)
    sections = {node.attributes.get("id") for node in root.walk() if node.tag == "section"}
    own = {
        "baselines": "comparison",
        "history": "rounds",
        "per_label": "labels",
        "reliability": "calibration",
        "noise_curve": "noise",
        "fairness": "fairness",
    }
    if part in own:
        assert own[part] not in sections
        assert f"#{own[part]}" not in [node.attributes.get("href") for node in root.walk()]


@pytest.mark.parametrize("name", ["standard", "noisy", "cross_site", "adversarial", "adversarial_transfer"])
def test_a_missing_set_is_left_out(results: Results, parsed: Parse, name: str) -> None:
    del results["sets"][name]
    results["fairness"]["sets"].pop(name, None)
    for row in results["history"]:
        row["sets"].pop(name, None)
    root = check_page(render(results, {}, opens_in="en"), parsed)
    assert not any(f"/sets/{name}/" in node.attributes.get("data-figure", "") for node in root.walk())


def test_nothing_but_a_schema(parsed: Parse) -> None:
    root = check_page(render({"schema": 1}, {}, opens_in="en"), parsed)
    assert "No differential privacy in this run." in root.text


def test_every_number_missing(results: Results, parsed: Parse) -> None:
    def without_numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_numbers(item) for key, item in value.items()}
        if isinstance(value, list):
            return [without_numbers(item) for item in value]
        return None if isinstance(value, int | float) and not isinstance(value, bool) else value

    check_page(render(without_numbers(results), {}, opens_in="en"), parsed)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extreme_scores(results: Results, parsed: Parse, value: float) -> None:
    def extreme(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: value if "f1" in key else extreme(inner) for key, inner in item.items()}
        return [extreme(inner) for inner in item] if isinstance(item, list) else item

    check_page(render(extreme(results), {}, opens_in="en"), parsed)


def test_a_site_known_only_by_its_baseline_or_its_refusals(results: Results, parsed: Parse) -> None:
    results["sites"]["late"] = {"tfidf_local": results["sites"]["hospital-a"]["tfidf_local"]}
    results["history"][0]["refused"] = {"stranger": "not finite"}
    text = check_page(render(results, {}, opens_in="en"), parsed).text
    assert "late" in text and "stranger" in text and "not finite" in text


def test_sample_data_is_said_prominently_and_only_then(results: Results, parsed: Parse) -> None:
    said = "Sample data made by this project, not clinical performance"
    notes = [
        node
        for node in parsed(render(results, {}, opens_in="en")).walk()
        if node.attributes.get("role") == "note"
    ]
    assert [said in note.text for note in notes] == [True]
    for value in (False, None, "yes"):
        assert said not in render({**results, "sample_data": value}, {}, opens_in="en")


def test_privacy_is_said_plainly(results: Results) -> None:
    without = render(results, {}, opens_in="en")
    assert "No differential privacy in this run." in without and "本次运行未使用差分隐私。" in without
    assert "updates are not anonymous" in without
    results["privacy"] = {"epsilon": 7.5, "delta": 1e-05}
    budget = render(results, {}, opens_in="en")
    assert "No differential privacy" not in budget
    assert ">7.5</data>" in budget and ">1e-05</data>" in budget


def test_what_left_a_site_names_every_field_of_its_replies() -> None:
    named = {field for fields, _ in LEAVES for field in fields.split()}
    sent = {name for reply in (DescribeReply, TrainReply, EvaluateReply) for name in reply.model_fields}
    # `update` is the payload; how it is packed, which message it is and which round it answers is no news to the server.
    assert sent - {"protocol", "kind", "round", "payload", "scores"} == named - {"update"}


def test_both_languages_are_there_everywhere(results: Results, parsed: Parse) -> None:
    root = parsed(render(results, {}, opens_in="zh"))
    for node in root.walk():
        count = {
            name: sum(name in child.classes for child in node.children if not isinstance(child, str))
            for name in ("en", "zh")
        }
        if "labels" not in node.classes:  # the names in the label chart are placed where there is room
            assert count["en"] == count["zh"], node.text
        if "zh" in node.classes:
            assert node.attributes["lang"] == "zh-CN"
        for name in ("data-label", "data-tip"):
            assert (f"{name}-en" in node.attributes) == (f"{name}-zh" in node.attributes)


@pytest.mark.parametrize("language, code", [("zh", "zh-CN"), ("en", "en")])
def test_it_opens_in_the_language_in_force(
    results: Results, parsed: Parse, run_folder: Callable[[Results], Path], language: str, code: str
) -> None:
    set_language(language)
    try:
        root = parsed(write_report(run_folder(results)).read_text(encoding="utf-8"))
    finally:
        set_language(None)
    (html,) = [node for node in root.walk() if node.tag == "html"]
    assert (html.attributes["lang"], html.attributes["data-opens-in"]) == (code, language)
    assert [node.attributes["id"] for node in root.walk() if "checked" in node.attributes] == [
        f"lang-{language}"
    ]


def test_write_report(results: Results, run_folder: Callable[[Results], Path]) -> None:
    run = run_folder(results)
    (run / "settings.toml").write_text('seed = 1\n[model]\nname = "tiny"\n', encoding="utf-8")
    path = write_report(run)
    assert path == run / "report.html"
    assert "model.name" in path.read_text(encoding="utf-8")
    first = path.read_bytes()
    assert write_report(run).read_bytes() == first, "the same results make the same page"
    assert sorted(item.name for item in run.iterdir()) == ["report.html", "results.json", "settings.toml"]


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "no results yet"),
        (b"{", "not valid JSON"),
        (b"[1]", "not the results"),
        (b"\xff\xfe", "can't be read"),
        (b'{"schema": 2}', "newer version"),
    ],
)
def test_bad_results_leave_the_old_page(tmp_path: Path, content: bytes | None, words: str) -> None:
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    set_language("en")
    try:
        with pytest.raises(DataError, match=words):
            write_report(tmp_path)
    finally:
        set_language(None)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "old"


def test_bad_settings_are_an_error(results: Results, run_folder: Callable[[Results], Path]) -> None:
    run = run_folder(results)
    (run / "settings.toml").write_text("= 1", encoding="utf-8")
    with pytest.raises(DataError, match=r"settings\.toml"):
        write_report(run)


def test_nan_in_results_is_a_missing_number(
    results: Results, parsed: Parse, run_folder: Callable[[Results], Path]
) -> None:
    results["sets"]["noisy"]["macro_f1"] = float("nan")
    results["sets"]["standard"]["ece"] = float("inf")
    run = run_folder(results)
    assert "NaN" in (run / "results.json").read_text(encoding="utf-8")
    check_page(write_report(run).read_text(encoding="utf-8"), parsed)


def test_settings_hide_secrets_and_folders() -> None:
    found = dict(
        pair
        for _, pairs in settings_table(
            {
                "seed": 3,
                "sites": {
                    "a": {"source": "/home/somebody/records/a.csv", "pseudonym_key": "0123", "password": "x"},
                    "b": {
                        "source": "postgresql+psycopg://reader@db.local/his?sslmode=require",
                        "query": "SELECT * FROM visits WHERE name = '某某'",
                        "password_env": "HIS",
                    },
                },
                "training": {"warmup": 0.06, "tokens": [1, True], "monkey": 1, "clip_norm": 1.0},
            }
        )
        for pair in pairs
    )
    assert found == {
        "seed": "3",
        "sites.a.source": "…/a.csv",
        "sites.a.pseudonym_key": HIDDEN,
        "sites.a.password": HIDDEN,
        "sites.b.source": "…/his",
        "sites.b.query": HIDDEN,
        "sites.b.password_env": HIDDEN,
        "training.warmup": "0.06",
        "training.tokens": HIDDEN,
        "training.monkey": "1",
        "training.clip_norm": "1.0",
    }


def test_unknown_text_in_results_never_reaches_the_page(results: Results) -> None:
    """Only fields that the page knows are shown: text that should not be there does not slip through."""
    planted = "患者张某某因咳嗽三天就诊"
    for place in (
        results,
        results["sets"]["standard"],
        results["history"][0],
        results["per_label"][0],
        results["cost"],
    ):
        place["text"] = planted
    results["sites"]["hospital-a"]["note"] = planted
    results["noise_curve"]["texts"] = [planted]
    results["noise_curve"]["points"][0]["text"] = planted
    results["fairness"]["sets"]["standard"][0]["groups"][0]["text"] = planted
    results["fairness"]["sets"][planted] = results["fairness"]["sets"]["standard"]
    results["baselines"]["texts"] = [planted]
    assert planted not in render(copy.deepcopy(results), {}, opens_in="zh")


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two colours #rrggbb."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(colours: dict[str, str]) -> None:
    assert LIGHT.keys() == DARK.keys()
    for text in ("ink", "quiet", "better", "worse", "accent"):
        for surface in ("page", "panel", "sunk", "accent-soft"):
            assert contrast(colours[text], colours[surface]) >= 4.5, (text, surface)
    for mark in ("standard", "noisy", "cross_site", "adversarial", "validation", "head", "middle", "tail"):
        assert contrast(colours[mark], colours["panel"]) >= 3.0, mark
    for part in ("train", "aggregate", "evaluate", "other", "accent"):
        assert contrast(colours["panel"], colours[part]) >= 4.5, f"writing on {part}"


def test_importing_the_report_is_light() -> None:
    code = (
        "import sys, emr_fl_server.report; "
        "print([name for name in ('torch', 'flwr', 'transformers', 'sklearn', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_a_loss_is_shown_as_one(results: Results, parsed: Parse) -> None:
    """A baseline or a site that is better than the full method: minus signs, in words too, never hidden."""
    results["baselines"]["tfidf_balanced_pooled"]["noisy"]["macro_f1"] = (
        results["sets"]["noisy"]["macro_f1"] + 0.0123
    )
    site = results["sites"]["hospital-a"]["tfidf_local"]
    site["standard"]["macro_f1"] = results["sets"]["standard"]["macro_f1"] + 0.0456
    root = check_page(render(results, {}, opens_in="en"), parsed)
    lead = next(node for node in root.walk() if {"lead", "en"} <= node.classes)
    assert "−1.2 against TF-IDF on pooled text" in " ".join(lead.text.split())
    worse = [node.text for node in root.walk() if "worse" in node.classes]
    assert "−1.2" in worse and "−4.6" in worse


def test_bars_are_as_long_as_their_numbers(results: Results, parsed: Parse) -> None:
    widths: dict[str, list[float]] = {}
    for node in parsed(render(results, {}, opens_in="en")).walk():
        match = re.fullmatch(r"width:([\d.]+)%", node.attributes.get("style", ""))
        if match:
            section = node
            while section.tag != "section":
                section = section.parent
            widths.setdefault(section.attributes["id"], []).append(float(match.group(1)))
    sets = results["sets"]
    shown = [sets[name]["macro_f1"] for name in ("standard", "noisy", "cross_site", "adversarial")]
    assert widths.pop("scores") == pytest.approx([100 * value for value in shown], abs=0.05)
    assert widths.pop("attack") == pytest.approx([100 * 23 / 61], abs=0.05)
    labels = sorted(results["per_label"], key=lambda row: -row["support"])
    assert widths.pop("labels") == pytest.approx([100 * row["f1"] for row in labels], abs=0.05)
    assert not widths


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SIGHT = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def as_seen(colour: str, sight: str) -> tuple[float, float, float]:
    """CIE Lab of a colour as someone with that sight sees it."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    r, g, b = (
        min(1.0, max(0.0, sum(weight * value for weight, value in zip(row, linear, strict=True))))
        for row in SIGHT[sight]
    )
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "names",
    [
        ("standard", "noisy", "cross_site", "adversarial", "validation"),
        ("head", "middle", "tail"),
        ("train", "aggregate", "evaluate", "other"),
    ],
    ids=["series", "groups", "times"],
)
def test_colours_stay_apart(colours: dict[str, str], sight: str, names: tuple[str, ...]) -> None:
    for one, other in itertools.combinations(names, 2):
        assert math.dist(as_seen(colours[one], sight), as_seen(colours[other], sight)) >= 20, (one, other)
