"""The gate: what a site plants itself, measures and refuses."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from emr_fl_shared.config.settings import Policy
from emr_fl_shared.deidentify import KINDS, Deidentifier, recognisers
from emr_fl_shared.deidentify.gate import PLANTED, SiteRecall, measure_site, refuse_below
from emr_fl_shared.deidentify.measurement import KindRecall, wilson
from emr_fl_shared.deidentify.planting import draw, phrases, plant
from emr_fl_shared.deidentify.roster import Roster
from emr_fl_shared.errors import PolicyError

TEXTS = [
    "反复咳嗽3天，伴发热。无胸痛；双肺呼吸音粗。",
    "头晕2周，血压150/95mmHg。予降压治疗。",
    "左膝关节疼痛5年，加重1周。查体：浮髌试验阴性。",
    "",
]


def test_wilson_by_hand() -> None:
    # 9 of 10, z = 1.96: centre (.9 + .19208) / 1.38416, half 1.96 √(.009 + .0096042) / 1.38416
    low, high = wilson(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=2e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 5)[1] == 1.0


def test_every_kind_is_planted_where_it_is_said() -> None:
    notes = list(plant(TEXTS, PLANTED, seed=1))
    kinds = Counter(kind for note in notes for _, _, kind in note.truth)
    assert set(kinds) == set(KINDS) == set(phrases())
    assert kinds["PHONE"] == 15 and kinds["STAFF_NAME"] == 45
    assert [note.text for note in notes] == [note.text for note in plant(TEXTS, PLANTED, seed=1)]
    assert [note.text for note in notes] != [note.text for note in plant(TEXTS, PLANTED, seed=2)]
    for note in notes:
        ((start, end, kind),) = note.truth
        assert 0 <= start < end <= len(note.text)
        assert any(
            note.text[:start].endswith(phrase.split("{}")[0])
            and note.text[end:].startswith(phrase.split("{}")[1])
            for phrase in phrases()[kind]
        )


def test_the_rules_pass_their_default_policy() -> None:
    recall = measure_site(TEXTS, Deidentifier(key=b"k"))
    assert recall.total.planted == PLANTED and recall.names.planted == 135
    assert recall.problems(Policy()) == []
    refuse_below(recall, Policy(), where="policy")
    assert recall.false_alarms_per_1000 <= 1.0


def test_a_cleaner_without_names_is_refused_and_nothing_is_said() -> None:
    blind = Deidentifier([part for part in recognisers() if "name" not in part.name], key=b"k")
    with pytest.raises(PolicyError) as caught:
        refuse_below(measure_site(TEXTS, blind), Policy(), where="policy")
    message = str(caught.value)
    assert caught.value.exit_code == 3 and "names" in message and "0.9" in message
    for note in plant(TEXTS, PLANTED, seed=2026):
        ((start, end, _),) = note.truth
        assert note.text[start:end] not in message


def test_one_blind_kind_is_refused_though_the_total_passes() -> None:
    rows = [KindRecall(kind, 15, 15, 15) for kind in KINDS if kind != "ID_CARD"]
    recall = SiteRecall((*rows, KindRecall("ID_CARD", 15, 5, 5)), 0, 1000)
    assert recall.total.recall > 0.95
    assert [problem.split()[0] for problem in recall.problems(Policy())] == ["ID_CARD"]
    assert recall.problems(Policy(deidentification_recall=0, deidentification_names=0)) == []


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        (Policy(deidentification_recall=0.98), 1),
        (Policy(deidentification_names=0.97), 1),
        (Policy(deidentification_recall=0.96, deidentification_names=0.96), 0),
    ],
)
def test_thresholds(policy: Policy, found: int) -> None:
    # 96 of 100 names, 97 of 100 others: names .96, all .965 + .005
    recall = SiteRecall((KindRecall("PATIENT_NAME", 100, 96, 96), KindRecall("PHONE", 100, 98, 98)), 0, 1)
    assert len(recall.problems(policy)) == found


def test_staff_is_planted_from_the_roster() -> None:
    staff = ["欧阳不凡", "呼延若水"]
    planted = {
        note.text[start:end] for note in plant(TEXTS, 90, seed=1, staff=staff) for start, end, _ in note.truth
    }
    assert planted & set(staff)
    with_roster = Deidentifier([*recognisers(), Roster(staff)], key=b"k")
    assert measure_site(TEXTS, with_roster).problems(Policy()) == []


def test_findings_beside_the_planted_are_false_alarms() -> None:
    class Eager:
        name = "eager"
        kinds = ("DATE",)

        def find(self, text: str, known: object) -> list[object]:
            from emr_fl_shared.deidentify import Span

            at = text.find("血压")
            return [Span(at, at + 2, "DATE", 0.9)] if at >= 0 else []

    recall = measure_site([TEXTS[1]], Deidentifier([Eager()], key=b"k"), number=30)  # type: ignore[list-item]
    assert recall.false_alarms == 30
    assert recall.false_alarms_per_1000 == pytest.approx(30_000 / recall.characters)
    assert recall.total.removed == 0


def test_time_is_bounded_but_every_kind_is_seen() -> None:
    recall = measure_site(TEXTS, Deidentifier(key=b"k"), number=3000, seconds=0.0)
    assert recall.total.planted == 30 and {row.kind for row in recall.kinds} == set(KINDS)


def test_nothing_is_logged_or_kept(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    cleaner = Deidentifier(key=b"k")
    recall = measure_site(TEXTS, cleaner)
    shown = repr(recall) + repr(recall.to_json()) + caplog.text + "".join(capsys.readouterr())
    for note in plant(TEXTS, PLANTED, seed=2026):
        ((start, end, _),) = note.truth
        assert note.text[start:end] not in shown
    assert cleaner.audit.records == 0


def test_every_kind_can_be_drawn() -> None:
    import random

    rng = random.Random(3)
    assert all(len(draw(kind, rng)) >= 2 for kind in KINDS for _ in range(50))
