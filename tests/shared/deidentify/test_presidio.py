"""A site's own Presidio recognisers, plugged in by settings. What needs Presidio itself runs where the site's extra is installed."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify.configured import files_digest, site_deidentifier
from emr_fl_shared.deidentify.own_labels import kinds_of_labels
from emr_fl_shared.deidentify.presidio import Presidio
from emr_fl_shared.errors import EmrFlError, ModelError, SettingsError

YAML = """
recognizers:
  - name: badge
    supported_entity: BADGE
    patterns:
      - {name: badge, regex: "工牌[A-Z]{2}[0-9]{4}", score: 0.9}
      - {name: unsure, regex: "暗号[0-9]{3}", score: 0.3}
  - name: nicknames
    supported_entity: RELATIVE_NAME
    deny_list: [阿毛头, 阿花婶, 帕金森]
"""
LABELS = {"BADGE": "RECORD_NUM", "RELATIVE_NAME": "RELATIVE_NAME"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def settings(file: Path, labels: dict[str, str] | None = None) -> SiteSettings:
    own = {"presidio": file.name, "presidio_labels": LABELS if labels is None else labels}
    return SiteSettings.model_validate({"source": "x.csv", "deidentification": own}).with_paths_from(
        file.parent
    )


# --- without Presidio ---------------------------------------------------------------------------------------------------


def test_what_is_configured_and_not_installed_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(SettingsError) as caught:
        site_deidentifier(settings(file), key=b"k" * 32)
    assert caught.value.exit_code == 2
    for part in ("deidentification.presidio", "not installed", "emr-fl[presidio]"):
        assert part in str(caught.value)


def test_the_file_counts_for_the_cache(file: Path) -> None:
    site = settings(file)
    assert Path(str(site.deidentification.presidio)) == file
    before = files_digest(site)
    file.write_text(YAML.replace("阿毛头", "阿贵伯"), encoding="utf-8")
    assert before and files_digest(site) != before


@pytest.mark.parametrize(
    ("labels", "known", "part"),
    [
        ({"BADGE": "NUMBER"}, {"BADGE"}, "labels.BADGE"),
        ({"OTHER": "RECORD_NUM"}, {"BADGE"}, "labels.OTHER"),
        ({}, {"BADGE"}, "labels"),
    ],
    ids=["no such kind", "no such label", "none is a kind"],
)
def test_wrong_labels(labels: dict[str, str], known: set[str], part: str) -> None:
    with pytest.raises(ModelError) as caught:
        kinds_of_labels(labels, known, where="labels")
    assert caught.value.where == part


def test_labels_that_are_kinds_need_no_map() -> None:
    assert kinds_of_labels({}, {"BADGE", "PHONE"}, where="labels") == {"PHONE": "PHONE"}


# --- with Presidio ------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(no_network: None) -> None:
    pytest.importorskip(
        "presidio_analyzer", reason="an extra of the site's own: pip install 'emr-fl[presidio]'"
    )


def test_its_findings_are_removed_beside_those_of_the_rules(file: Path, installed: None) -> None:
    cleaner = site_deidentifier(settings(file), key=b"k" * 32)
    clean, found = cleaner.text("夜间阿毛头发现其气促，工牌ＡＢ１２３４，电话13800138000，暗号123")
    assert clean == "夜间[RELATIVE_NAME]发现其气促，[RECORD_NUM]，电话[PHONE]，暗号123"
    assert {span.kind for span in found} == {"RELATIVE_NAME", "RECORD_NUM", "PHONE"}
    assert cleaner.text(clean) == (clean, [])


def test_protected_terms_stay(file: Path, installed: None) -> None:
    assert not list(Presidio.from_file(file, LABELS).find("帕金森病5年", {}))


def test_an_engine_can_be_handed_over(installed: None) -> None:
    from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    def engine(**options: Any) -> Any:
        own = PatternRecognizer(
            "PHONE", patterns=[Pattern("short", r"6[0-9]{3}分机", 0.8)], supported_language="en"
        )
        registry = RecognizerRegistry([own], supported_languages=["en"])
        nothing = NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}])
        return AnalyzerEngine(registry, nothing, supported_languages=["en"], **options)

    presidio = Presidio(engine(), language="en")
    assert [tuple(span) for span in presidio.find("拨6123分机", {})] == [(1, 7, "PHONE", 0.8)]
    assert repr(presidio) == "Presidio(PHONE)"
    with pytest.raises(ModelError, match="log"):
        Presidio(engine(log_decision_process=True), language="en")


@pytest.mark.parametrize(
    "content",
    [
        None,
        "recognizers: [",
        "patterns: []",
        "recognizers: []",
        "recognizers: [阿毛头]",
        "recognizers: [{name: 阿毛头}]",
        "recognizers: [{name: x, supported_entity: PHONE, patterns: [{name: x, regex: '(阿毛头', score: 0.9}]}]",
        "recognizers: [{name: x, supported_entity: PHONE, deny_list: [阿毛头], 阿毛头: 1}]",
    ],
    ids=["missing", "no YAML", "another list", "empty", "words", "no entity", "no regex", "unknown key"],
)
def test_files_that_are_none_are_refused_without_their_words(
    tmp_path: Path, installed: None, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(EmrFlError) as caught:
        Presidio.from_file(path)
    assert isinstance(caught.value, ModelError) and str(path) in str(caught.value)
    assert "阿毛头" not in str(caught.value) + "".join(capsys.readouterr())
