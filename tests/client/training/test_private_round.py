"""A private round: who is drawn, what a part holds, whose records count, and that it learns where the noise lets it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.adversarial import AdversarialSettings
from emr_fl_client.training.averaging import AveragingSettings
from emr_fl_client.training.private.round import PrivateSettings, sampling, train_round_privately
from emr_fl_client.training.private.units import packed, patient_units, record_units
from emr_fl_shared.model.encoder import encode, predict_logits
from emr_fl_shared.privacy import NoiseStream
from training_site import SETTINGS, encoder, same, site, weights

FREELB = replace(SETTINGS, adversarial=AdversarialSettings(method="freelb", steps=2, top_loss=1.0))
QUIET = PrivateSettings(noise_multiplier=0.0, clipping_norm=1.0)


def test_it_learns_where_there_is_no_noise() -> None:
    texts, y = site(120)
    trained = encoder()
    before = _loss(trained, texts, y)
    result = train_round_privately(
        trained, texts, y, record_units(120), replace(FREELB, epochs=4), QUIET, stream=NoiseStream(b"k" * 32)
    )
    assert (result.steps, result.examples, result.precision) == (32, 120, "fp32")
    assert _loss(trained, texts, y) < 0.9 * before


def _loss(of: object, texts: list[str], y: np.ndarray) -> float:
    ids = encode(of.tokenizer, texts, of.max_length)  # type: ignore[attr-defined]
    logits = torch.from_numpy(predict_logits(of.model, ids))  # type: ignore[attr-defined]
    return float(
        torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y.astype(np.float32)))
    )


def test_how_a_batch_is_cut_changes_nothing_but_rounding() -> None:
    texts, y = site(40)
    ends = []
    for part in (3, 64):
        trained = encoder()
        settings = replace(SETTINGS, micro_batch=part, adversarial=AdversarialSettings())
        for module in trained.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        train_round_privately(
            trained, texts, y, record_units(40), settings, QUIET, stream=NoiseStream(b"k" * 32)
        )
        ends.append(weights(trained))
    for name, one in ends[0].items():
        # AdamW divides by the gradient's own size: rounding of a gradient near 0 shows in the weight
        torch.testing.assert_close(one, ends[1][name], rtol=0.0, atol=2e-3)


def test_nothing_that_others_seed_decides_what_is_drawn() -> None:
    texts, y = site(40)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    ends = []
    for _ in range(2):
        torch.manual_seed(3)
        np.random.seed(3)
        trained = encoder()
        train_round_privately(trained, texts, y, record_units(40), SETTINGS, QUIET)
        ends.append(weights(trained))
    assert not same(*ends), "Poisson sampling and dropout come from a secret"
    assert torch.equal(state, torch.get_rng_state())


def test_the_average_of_weights_and_augmentation_go_with_it() -> None:
    texts, y = site(40)
    settings = replace(SETTINGS, averaging=AveragingSettings(kind="ema"), augment_probability=1.0)
    calls: list[tuple[int, int]] = []
    result = train_round_privately(
        encoder(),
        texts,
        y,
        record_units(40),
        settings,
        PrivateSettings(1.0, 1.0),
        augment=lambda text, rng: text + "！",
        progress_callback=lambda step, steps, _: calls.append((step, steps)),
    )
    assert result.augmented > 0
    assert calls[-1] == (3, 3)


def test_a_site_so_small_that_steps_are_empty() -> None:
    texts, y = site(3)
    settings = replace(SETTINGS, batch_size=1, epochs=5)
    trained, before = encoder(), weights(encoder())
    result = train_round_privately(
        trained, texts, y, record_units(3), settings, PrivateSettings(1.0, 1.0), stream=NoiseStream(b"k" * 32)
    )
    assert result.steps == 15, "about a third of them draw nobody, and have their noise all the same"
    assert not any(torch.equal(before[name], tensor) for name, tensor in weights(trained).items())


@pytest.mark.parametrize(
    ("units", "batch_size", "epochs", "expected"),
    [(100, 32, 1, (0.32, 4)), (64, 32, 2, (0.5, 4)), (10, 32, 1, (1.0, 1)), (1, 1, 3, (1.0, 3))],
)
def test_rate_and_steps(units: int, batch_size: int, epochs: int, expected: tuple[float, int]) -> None:
    assert sampling(units, replace(SETTINGS, batch_size=batch_size, epochs=epochs)) == expected


def test_a_patient_gives_at_most_so_many_records_chosen_once_and_by_nobody_elses() -> None:
    patients = ["a", "b", "a", "a", "c", "a", "b"]
    units = patient_units(patients, 2, b"key")
    assert [len(unit) for unit in units] == [2, 2, 1]
    assert set(units[0]) < {0, 2, 3, 5} and list(units[0]) == sorted(units[0])
    assert [list(unit) for unit in units] == [list(unit) for unit in patient_units(patients, 2, b"key")]
    # the same records of a, without b and c: the same are chosen
    alone = patient_units(["a", "a", "a", "a"], 2, b"key")
    assert [[0, 2, 3, 5][row] for row in alone[0]] == list(units[0])
    assert any(list(patient_units(patients, 2, bytes([key]))[0]) != list(units[0]) for key in range(20)), (
        "the key chooses"
    )


@given(
    sizes=st.lists(st.integers(1, 6), max_size=30),
    most=st.integers(1, 8),
    lengths=st.randoms(use_true_random=False),
)
def test_parts_hold_every_unit_once_whole_and_no_more_than_fits(
    sizes: list[int], most: int, lengths: object
) -> None:
    units = [np.arange(size) for size in sizes]
    parts = packed(units, [lengths.randint(1, 40) for _ in sizes], most)  # type: ignore[attr-defined]
    assert sorted(unit for part in parts for unit in part) == list(range(len(sizes)))
    for part in parts:
        assert len(part) == 1 or sum(sizes[unit] for unit in part) <= most
