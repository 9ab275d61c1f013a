"""Held-out sets and the validation set carved out of the standard one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_server.evaluation.sets import HeldOutSet, carve_validation
from emr_fl_shared.errors import DataError


def made(seed: int, n: int, *, visits: float = 2.0, labels: int = 20) -> HeldOutSet:
    generator = np.random.default_rng(seed)
    share = 1 / np.arange(1, labels + 1)
    first = generator.choice(labels, n, p=share / share.sum())
    y = np.zeros((n, labels), dtype=bool)
    y[np.arange(n), first] = True
    y |= generator.random((n, labels)) < 0.02
    patients = [f"p{i}" for i in generator.integers(0, max(1, int(n / visits)), n)]
    return HeldOutSet("standard", [f"text {i}" for i in range(n)], y, patients)


def test_patients_stay_together_and_nothing_is_lost() -> None:
    standard = made(0, 1000)
    validation, rest = carve_validation(standard, seed=1)
    assert not set(validation.patients) & set(rest.patients)
    assert sorted(validation.texts + rest.texts) == sorted(standard.texts)
    assert (validation.name, rest.name) == ("validation", "standard")
    for part in (validation, rest):
        rows = [int(text.split()[1]) for text in part.texts]
        assert rows == sorted(rows)
        np.testing.assert_array_equal(part.y, standard.y[rows])
        assert part.patients == [standard.patients[row] for row in rows]


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_every_label_gives_its_share(share: float) -> None:
    standard = made(2, 3000, visits=1.5)
    validation, _ = carve_validation(standard, share, seed=0)
    assert len(validation) / 3000 == pytest.approx(share, abs=0.03)
    for count, taken in zip(standard.y.sum(axis=0), validation.y.sum(axis=0), strict=True):
        assert taken == pytest.approx(share * count, abs=max(4.0, 0.1 * count))


def test_a_label_with_one_record_is_scored_and_not_used_up() -> None:
    standard = made(3, 300)
    standard.y[:, 19] = False
    standard.y[7, 19] = True
    for seed in range(10):
        validation, rest = carve_validation(standard, seed=seed)
        assert not validation.y[:, 19].any() and rest.y[:, 19].sum() == 1


def test_same_seed_same_split_other_seed_another() -> None:
    first, again, other = (carve_validation(made(4, 400), seed=s)[0].texts for s in (5, 5, 6))
    assert first == again and first != other


def test_records_without_patient_count_alone() -> None:
    standard = made(5, 200)
    alone = HeldOutSet("standard", standard.texts, standard.y, [""] * 200)
    validation, rest = carve_validation(alone, seed=0)
    assert len(validation) + len(rest) == 200 and 25 <= len(validation) <= 55


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.floats(1.0, 10.0))
def test_always_a_partition_or_a_clear_refusal(seed: int, n: int, visits: float) -> None:
    standard = made(seed, n, visits=visits, labels=4)
    try:
        validation, rest = carve_validation(standard, seed=seed)
    except DataError:
        assert n < 30 or visits > 3
        return
    assert len(validation) and len(rest) and len(validation) + len(rest) == n
    assert not set(validation.patients) & set(rest.patients)


def test_one_patient_only_is_refused() -> None:
    with pytest.raises(DataError):
        carve_validation(HeldOutSet("standard", ["a", "b"], np.eye(2, dtype=bool), ["p", "p"]), seed=0)


@pytest.mark.parametrize(
    ("texts", "y", "patients"),
    [
        pytest.param(["a"], np.eye(2, dtype=bool), ["p", "q"], id="texts"),
        pytest.param(["a", "b"], np.eye(2, dtype=bool), ["p"], id="patients"),
        pytest.param(["a", "b"], np.eye(2), ["p", "q"], id="dtype"),
        pytest.param(["a", "b"], np.ones(2, dtype=bool), ["p", "q"], id="shape"),
    ],
)
def test_refuses_parts_that_do_not_fit(texts: list[str], y: np.ndarray, patients: list[str]) -> None:
    with pytest.raises(DataError):
        HeldOutSet("standard", texts, y, patients)


def test_no_text_in_its_repr() -> None:
    shown = repr(HeldOutSet("standard", ["患者秘密"], np.ones((1, 1), dtype=bool), ["p-secret"]))
    assert "秘密" not in shown and "secret" not in shown
