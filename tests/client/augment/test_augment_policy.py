from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from emr_fl_client.augment import policy
from emr_fl_client.augment.fields import Fields, parts
from emr_fl_client.augment.operator import Operator, chosen, shared_guard
from emr_fl_client.augment.pivot import enumerations
from emr_fl_client.augment.policy import DEFAULT_SHARES, NOISE_SHARES, RuleAugmenter
from emr_fl_client.augment.registry import operators
from emr_fl_client.augment.wordings import formal_pairs, register_pairs
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.text.confusions import gains_reserved, is_reserved, reserved_wordings, term_pairs
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis, Guard
from emr_fl_shared.text.noise import plan_noise
from emr_fl_shared.text.normalise import is_hanzi

NOTE = (
    "反复头痛3天。患者3天前受凉后出现头痛、发热，体温38.5摄氏度，血压120/80mmHg，无恶心、呕吐、腹痛，[DATE]在[HOSPITAL]就诊。"
    "既往高血压病史10年，否认糖尿病史。"
)


def outputs(name: str, text: str = NOTE, count: int = 200) -> set[str]:
    operator = operators()[name]
    return {operator.apply(text, random.Random(seed)) for seed in range(count)}


@pytest.mark.parametrize("name", list(operators()))
def test_the_same_generator_state_gives_the_same_text(name: str) -> None:
    for seed in range(30):
        assert operators()[name].apply(NOTE, random.Random(seed)) == operators()[name].apply(
            NOTE, random.Random(seed)
        )
    assert len(outputs(name)) > 3


@pytest.mark.parametrize("name", list(operators()))
@pytest.mark.parametrize("text", ["", "。", "[DATE]", "无发热", "38.5", "ECG", "咳"])
def test_texts_with_nothing_to_change_are_left(name: str, text: str) -> None:
    for seed in range(20):
        assert shared_guard().keeps(text, operators()[name].apply(text, random.Random(seed)))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("colloquial", "血压120", "BP120"),
        ("colloquial", "38.5摄氏度", "38.5℃"),
        ("colloquial", "反复头痛3天", "反复头痛3d"),
        ("colloquial", "发热", "发烧"),
        ("placeholders", "[HOSPITAL]", "外院"),
        ("placeholders", "患者", "[PATIENT_NAME]"),
        ("fields", "恶心、呕吐、腹痛", "腹痛、呕吐、恶心"),
        ("pivot", "体温38.5", "T38.5"),
        ("pivot", "头痛3天", "脑袋疼3天"),
    ],
)
def test_examples(name: str, old: str, new: str) -> None:
    assert old in NOTE and new not in NOTE
    assert any(new in output for output in outputs(name, count=600))


def test_synonyms_stay_formal() -> None:
    for wording, others in formal_pairs().items():
        assert set(others) <= set(term_pairs("train")[wording])
        assert not set(others) & set(register_pairs().get(wording, ()))


MARKED = (
    f"{NOTE}Ca（2.1）;复查：胸闷、气促、乏力,WBC:9；纳差， 睡眠差。主诉:咳嗽, 咳痰; 心悸、胸闷。"
    "左膝关节疼痛(2周)，Hb：90g/L；ECG正常"
)


def replaced(name: str) -> set[tuple[str, str]]:
    """What the operator puts in the place of what, over many draws; two that change places are not a replacement."""
    operator = operators()[name]
    pairs = set()
    for seed in range(500):
        analysis = shared_guard().analyse(operator.shorten(MARKED, random.Random(seed)))
        edits = [
            (analysis.text[start:end], new)
            for start, end, new in operator.plan(analysis, random.Random(seed))
        ]
        moved = Counter(old for old, _ in edits) == Counter(new for _, new in edits)
        pairs |= set() if moved else {(old, new) for old, new in edits if old and new}
    return pairs


@pytest.mark.parametrize("name", [name for name in operators() if name != "fields"])
def test_training_uses_no_replacement_of_the_evaluation(name: str) -> None:
    pairs = replaced(name)
    assert len(pairs) > 3
    assert not [pair for pair in pairs if is_reserved(*pair)]
    assert not {new.lower() for _, new in pairs} & reserved_wordings()


def test_fields_only_moves() -> None:
    assert not replaced("fields")


def test_the_evaluation_replaces_with_what_is_reserved() -> None:
    """Every replacement that the noise is seen to make counts as reserved, so that the tests above look for the right ones."""
    guard = Guard(remember=0)
    seen = set()
    for seed in range(300):
        edits, _ = plan_noise(guard.read(MARKED), 0.3, random.Random(seed))
        seen |= {(MARKED[start:end], new) for start, end, new in edits if new}
    spaced = {(old, new) for old, new in seen if old == "".join(new.split())}
    assert len(seen - spaced) > 100
    assert [pair for pair in seen - spaced if not is_reserved(*pair)] == []
    in_place = {(old, new) for old, new in seen - spaced if old not in new}
    assert [pair for pair in in_place if not gains_reserved(*(f"\n{one}9\n" for one in pair))] == []
    # a blank is put behind a character; no operator of training does
    assert {old for old, new in spaced if old != "，" and is_hanzi(old)}
    assert not [
        pair
        for name in operators()
        for pair in replaced(name)
        if pair[1] == f"{pair[0]} " and is_hanzi(pair[0])
    ]


def test_noised_copies_use_no_replacement_of_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[tuple[str, str]] = set()
    apply = policy.apply_edits

    def observed(text: str, edits: list[Edit]) -> str:
        made.update((text[start:end], new) for start, end, new in edits if new)
        return apply(text, edits)

    monkeypatch.setattr(policy, "apply_edits", observed)
    noise = RuleAugmenter(NOISE_SHARES)
    copies = {noise.augment(NOTE, random.Random(seed)) for seed in range(300)}
    assert len(copies) > 250
    assert len(made) > 100
    assert not [pair for pair in made if is_reserved(*pair)]


def test_only_whole_parts_are_left_out() -> None:
    operator = Fields(drop_probability=1.0)
    spans = parts(NOTE)
    assert "".join(NOTE[slice(*span)] for span in spans) == NOTE
    allowed = {NOTE[:start] + NOTE[end:] for start, end in spans}
    shortened = {operator.shorten(NOTE, random.Random(seed)) for seed in range(50)}
    assert shortened <= allowed
    assert len(shortened) == 2  # the chief complaint or the past history, never the present illness
    assert all("体温" in text for text in shortened)


def test_chosen_takes_at_least_one() -> None:
    assert chosen([], 0.5, random.Random(0)) == []
    assert all(len(chosen("abc", 0.0, random.Random(seed))) == 1 for seed in range(20))
    sizes = Counter(len(chosen(range(100), 0.15, random.Random(seed))) for seed in range(200))
    assert 13 < sum(size * count for size, count in sizes.items()) / 200 < 17


class Breaker(Operator):
    """An operator as stock augmenters are: it deletes the negation."""

    name = "breaker"

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        place = analysis.text.find("无")
        return [Edit(place, place + 1, "")]


def test_what_breaks_a_fact_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**operators(), "breaker": Breaker()}
    monkeypatch.setattr(policy, "operators", lambda: known)
    augmenter = RuleAugmenter({"breaker": 1.0, "colloquial": 1.0})
    results = [augmenter.augment(NOTE, random.Random(seed)) for seed in range(100)]
    assert all("无恶心" in result or re.search("无[^，]+、[^，]+、", result) for result in results)
    assert augmenter.rejected["breaker: negation"] > 30
    assert set(augmenter.rejected) == {"breaker: negation"}
    assert any(result != NOTE for result in results)  # the other operator's work is kept
    assert Breaker().apply(NOTE, random.Random(0)) == NOTE


def test_probability_and_counts() -> None:
    augmenter = RuleAugmenter(probability=0.3)
    rng = random.Random(0)
    changed = sum(augmenter.augment(NOTE, rng) != NOTE for _ in range(1000))
    assert changed == augmenter.changed
    assert 230 < changed < 330
    assert RuleAugmenter(probability=0.0).augment(NOTE, rng) == NOTE


def test_an_operator_with_share_zero_is_never_drawn() -> None:
    augmenter = RuleAugmenter({"fields": 1.0, "eda": 0.0}, probability=1.0)
    operator_names = {
        operator.name for seed in range(50) for operator in augmenter._draw(random.Random(seed))
    }
    assert operator_names == {"fields"}


@pytest.mark.parametrize(
    ("shares", "probability", "said"),
    [
        ({"backflip": 1.0}, 1.0, "backflip"),
        ({"eda": -0.1}, 1.0, "training.augmentation.eda"),
        ({"eda": float("nan")}, 1.0, "training.augmentation.eda"),
        ({"eda": 0.0}, 1.0, "share above 0"),
        ({}, 1.0, "share above 0"),
        (None, 1.5, "probability"),
    ],
)
def test_wrong_settings_are_refused(shares: dict[str, float] | None, probability: float, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        RuleAugmenter(shares, probability)


def test_default_shares_name_every_operator() -> None:
    assert set(DEFAULT_SHARES) == set(operators())
    assert sum(DEFAULT_SHARES.values()) == pytest.approx(1.0)


def test_speed(benchmark) -> None:  # type: ignore[no-untyped-def]
    augmenter = RuleAugmenter()
    rng = random.Random(0)
    texts = [NOTE.replace("3天", f"{day}天") for day in range(1, 30)]
    benchmark(lambda: [augmenter.augment(text, rng) for text in texts])


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("胸闷、气促、乏力", {"胸闷", "气促", "乏力"}),
        ("伴胸闷、气促、乏力3天", set()),
        ("伴胸闷、气促、乏力", {"气促", "乏力"}),
        ("无胸闷、气促、乏力", set()),
        ("胸闷，WBC：9", set()),
        ("胸闷，出现气促", set()),
    ],
)
def test_what_the_pivot_takes_for_an_enumeration(text: str, moved: set[str]) -> None:
    found = enumerations(shared_guard().analyse(text))
    assert {span.wording for items in found for span in items} == moved
