"""The page: balanced, complete in itself, every number where it says that it stands."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.experiments.page import render
from emr_fl_server.report.figures import FORMATS
from page_tree import parse_page

Results = dict[str, Any]


def look_up(results: Any, place: str) -> Any:
    for part in place.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        results = results[int(part)] if isinstance(results, list) else results[part]
    return results


@pytest.mark.parametrize("language", ["zh", "en"])
def test_it_is_whole_and_fetches_nothing(gathered: Results, language: str) -> None:
    page = render(gathered, opens_in=language)
    nodes = parse_page(page).walk()
    tags = [node.tag for node in nodes]
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        if node.tag == "a" and node.attributes["href"].startswith("#"):
            assert node.attributes["href"][1:] in ids
        if node.tag == "th":
            assert node.attributes.get("scope") in ("col", "row")
        assert "src" not in node.attributes
    links = {
        node.attributes["href"] for node in nodes if node.tag == "a" and "#" not in node.attributes["href"]
    }
    assert links == {
        f"runs/{name}/report.html"
        for name in (
            "plain/seed-0",
            "plain/seed-1",
            "plain/seed-2",
            "tfidf/seed-0",
            "tfidf/seed-1",
            "alone/north/seed-0",
        )
    }
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert ">None<" not in page and ">nan<" not in page.lower()


def test_every_number_stands_where_it_says(gathered: Results) -> None:
    nodes = [
        node
        for node in parse_page(render(gathered, opens_in="en")).walk()
        if "data-figure" in node.attributes
    ]
    assert len(nodes) > 60
    for node in nodes:
        value = look_up(gathered, node.attributes["data-figure"])
        assert FORMATS[node.attributes["data-format"]](value) in node.text


def test_the_papers_figures_stand_apart(gathered: Results) -> None:
    sections = {
        node.attributes["id"]: node
        for node in parse_page(render(gathered, opens_in="en")).walk()
        if node.tag == "section"
    }
    assert "68.5" in sections["paper"].text and "other data" in sections["paper"].text
    assert "68.5" not in sections["figures"].text + sections["against"].text


def test_names_can_do_nothing(gathered: Results) -> None:
    hostile = '"><script>alert(1)</script>'
    results = copy.deepcopy(gathered)
    results["title"] = results["question"] = results["configurations"][0]["name"] = {
        "en": hostile,
        "zh": hostile,
    }
    results["data"]["name"] = results["encoder"] = hostile
    results["configurations"][1]["runs"][0]["reason"] = hostile
    page = render(results, opens_in="en")
    parse_page(page)
    assert "<script>alert" not in page


def test_invented_data_are_called_so(gathered: Results) -> None:
    assert "not clinical performance" not in render(gathered, opens_in="en")
    results = {**gathered, "data": {**gathered["data"], "sample": True}}
    assert "not clinical performance" in render(results, opens_in="en")


def test_a_page_before_anything_has_run(gathered: Results) -> None:
    results = copy.deepcopy(gathered)
    for row in results["configurations"]:
        row |= {"figures": {}, "by_seed": {}, "against_reference": {}}
    parse_page(render(results, opens_in="zh"))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it(gathered: Results, tmp_path: Path, width: int) -> None:
    import shutil
    import subprocess

    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "index.html").write_text(render(gathered, opens_in="en"), encoding="utf-8")
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},2400",
            f"--screenshot={picture}",
            (tmp_path / "index.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=180,
    )
    assert picture.stat().st_size > 20_000
