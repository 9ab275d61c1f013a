from __future__ import annotations

import pytest

from emr_fl_shared.text.lexicon import CUE_KINDS, Lexicon, Term, leftmost_longest, load_lexicon

SMALL = Lexicon(
    terms=[
        Term("血压", "vital", abbreviations=("BP",)),
        Term("体温", "vital", abbreviations=("T",)),
        Term("咳嗽", "symptom", colloquial=("咳", "咳个不停"), is_finding=True),
        Term("无力", "symptom", is_finding=True),
        Term("天", "unit", synonyms=("日",), abbreviations=("d",)),
    ],
    diseases=[],
    cues={"negation": ("无", "否认"), "pseudo_negation": ("无明显诱因",)},
    protected={"drug": ("布洛芬",)},
)


@pytest.mark.parametrize(
    ("text", "wordings"),
    [
        ("无咳嗽", ["无", "咳嗽"]),
        ("四肢无力", ["无力"]),
        ("无明显诱因咳个不停", ["无明显诱因", "咳个不停"]),
        ("BP120/80", ["BP"]),
        ("bp 120", ["BP"]),
        ("BPH", []),
        ("T38.5", ["T"]),
        ("T：38", ["T"]),
        ("T波", []),
        ("CT3", []),
        ("咳3天", []),
        ("服布洛芬", ["布洛芬"]),
    ],
)
def test_wordings_found(text: str, wordings: list[str]) -> None:
    assert [match.wording for match in SMALL.matches(text)] == wordings


def test_nested_matches_are_all_seen() -> None:
    nested = SMALL.all_matches("四肢无力")
    assert {match.wording for match in nested} == {"无", "无力"}
    assert [match.wording for match in leftmost_longest(nested)] == ["无力"]


def test_concept_of_a_wording() -> None:
    assert SMALL.concept("BP") == "血压"
    assert SMALL.concept("布洛芬") is None
    assert SMALL.units["d"] == "天"


def test_shipped_lexicon_loads_once_and_has_every_kind_of_cue() -> None:
    lexicon = load_lexicon()
    assert lexicon is load_lexicon()
    assert set(lexicon.cues) == set(CUE_KINDS)
    assert {"drug", "eponym"} == set(lexicon.protected)
    assert sum(1 for _ in lexicon.findings()) >= 600


def test_an_occurrence_is_found_at_its_place() -> None:
    text = "患者发热，BP 130/80"
    for match in load_lexicon().matches(text):
        assert text[match.start : match.end].lower() == match.wording.lower()
