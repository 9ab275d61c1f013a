"""A round of training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emr_fl_client.adversarial import AdversarialSettings, ConsistencySettings, known_methods
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.augment.rewriter import Rewriter, Rewriters
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.dataset.sampling import balanced_weights
from emr_fl_client.training.averaging import AveragingSettings
from emr_fl_client.training.loop import TrainingSettings, TrainResult, train_round
from emr_fl_client.training.losses import LabelFrequencies, LossSettings
from emr_fl_client.training.mixup import mix
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.errors import DataError, ModelError, SettingsError
from emr_fl_shared.metrics import macro_f1
from emr_fl_shared.model.encoder import Encoder, encode, predict_logits
from emr_fl_shared.text.edits import Edit
from training_site import CHAPTERS, FREELB, SETTINGS, encoder, same, site, weights


class _Marking(Rewriter):
    """Puts a word in front of every text that it gets."""

    name = "marking"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def propose(self, texts: Sequence[str], rng: random.Random) -> list[list[Edit]]:
        self.calls.append(len(texts))
        return [[Edit(0, 0, "门口，")] for _ in texts]


def test_rewriters_take_their_share_in_one_batch_an_epoch() -> None:
    texts, y = site(160)
    settings = replace(SETTINGS, epochs=2, augment_probability=1.0)
    asked: list[str] = []

    def rules(text: str, _: random.Random) -> str:
        asked.append(text)
        return text

    rewriter = _Marking()
    result = train_round(
        encoder(), texts, y, settings, augment=rules, rewriters=Rewriters(1.0, {rewriter: 0.5})
    )
    assert len(rewriter.calls) == 2
    assert sum(rewriter.calls) + len(asked) == 2 * len(texts)
    assert 70 < sum(rewriter.calls) < 145  # a third of 320
    assert result.augmented == rewriter.changed == sum(rewriter.calls)
    alone = _Marking()
    train_round(encoder(), texts, y, settings, rewriters=Rewriters(0.0, {alone: 0.1}))
    assert alone.calls == [len(texts)] * 2


def test_without_rewriters_nothing_else_is_drawn() -> None:
    texts, y = site(64)
    settings = replace(SETTINGS, augment_probability=0.5)

    def rules(text: str, rng: random.Random) -> str:
        return text[1:] if rng.random() < 0.5 else text

    plain, beside = encoder(), encoder()
    train_round(plain, texts, y, settings, augment=rules)
    train_round(beside, texts, y, settings, augment=rules, rewriters=Rewriters(1.0, {}))
    assert same(weights(plain), weights(beside))


EVERY_METHOD = [
    pytest.param(replace(SETTINGS, adversarial=AdversarialSettings(method=name)), id=name)
    for name in known_methods()
]


def quality(of: Encoder) -> float:
    texts, y = site(100, seed=9)
    return macro_f1(y, predict_logits(of.model, encode(of.tokenizer, texts, 40)) > 0)


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        FREELB,
        replace(SETTINGS, loss=LossSettings("asymmetric")),
        replace(FREELB, loss=LossSettings("distribution_balanced")),
        replace(SETTINGS, loss=LossSettings("logit_adjusted")),
        replace(SETTINGS, loss=LossSettings(alpha="balanced")),
        replace(FREELB, mixup_probability=0.3),
        replace(SETTINGS, averaging=AveragingSettings("ema")),
        replace(SETTINGS, averaging=AveragingSettings("swa")),
        replace(SETTINGS, loss=LossSettings(coarse=0.5)),
    ],
    ids=[
        "plain",
        "freelb",
        "asymmetric",
        "distribution_balanced",
        "logit_adjusted",
        "balanced-alpha",
        "mixup",
        "ema",
        "swa",
        "coarse",
    ],
)
def test_it_learns(settings: TrainingSettings) -> None:
    trained, (texts, y) = encoder(), site()
    assert quality(trained) < 0.6
    results = [
        train_round(
            trained, texts, y, replace(settings, epochs=4), chapters=CHAPTERS, round_number=number, rounds=3
        )
        for number in (1, 2, 3)
    ]
    assert quality(trained) > 0.95
    # a mixed target has an entropy that no model gets below
    assert results[2].loss < (0.5 if settings.mixup_probability else 0.3) * results[0].loss


@pytest.mark.parametrize("settings", EVERY_METHOD)
def test_every_method_learns(settings: TrainingSettings) -> None:
    # A radius of 8 % in the worst direction is much for an encoder that starts from random weights: it learns, later.
    trained, (texts, y) = encoder(), site()
    for number in (1, 2, 3):
        train_round(trained, texts, y, replace(settings, epochs=4), round_number=number, rounds=3)
    assert quality(trained) > 0.85


@pytest.mark.parametrize("settings", [*EVERY_METHOD, pytest.param(FREELB, id="freelb-top-half")])
def test_equal_seeds_give_equal_weights_and_other_rounds_do_not(settings: TrainingSettings) -> None:
    texts, y = site(48)

    def run(seed: int, number: int) -> tuple[dict[str, torch.Tensor], TrainResult]:
        trained = encoder()
        torch.rand(seed + number)  # whatever was drawn before
        result = train_round(trained, texts, y, settings, seed=seed, round_number=number, rounds=4)
        return weights(trained), result

    first, result = run(1, 2)
    again, repeated = run(1, 2)
    assert same(first, again)
    assert replace(result, seconds=0.0) == replace(repeated, seconds=0.0)
    assert not same(first, run(1, 3)[0])
    assert not same(first, run(2, 2)[0])


def test_global_state_is_left_alone() -> None:
    trained, (texts, y) = encoder(), site(32)
    trained.model.eval()
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_round(trained, texts, y, FREELB)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert not trained.model.training


@pytest.mark.parametrize("settings", [SETTINGS, FREELB], ids=["plain", "freelb"])
def test_rows_of_labels_that_the_site_never_saw_do_not_move(settings: TrainingSettings) -> None:
    trained, (texts, y) = encoder(), site(48)
    y[:, 2] = False
    before = weights(trained)
    settings = replace(settings, optimiser=OptimiserSettings(learning_rate=1e-3, weight_decay=0.5))
    train_round(trained, texts, y, settings, label_mask=y.any(axis=0))
    after = weights(trained)
    for name in ("classifier.weight", "classifier.bias"):
        moved = (before[name] != after[name]).reshape(4, -1).any(dim=1)
        assert moved.tolist() == [True, True, False, True]
    unmasked = encoder()
    train_round(unmasked, texts, y, settings)
    assert not torch.equal(weights(unmasked)["classifier.weight"][2], before["classifier.weight"][2])


def test_the_augmenter_sees_its_share_and_its_text_is_trained_on() -> None:
    texts, y = site(160)
    asked: list[str] = []

    def shout(text: str, rng: random.Random) -> str:
        asked.append(text)
        return text + "！" if rng.random() < 0.5 else text

    plain, changed = encoder(), encoder()
    train_round(plain, texts, y, SETTINGS)
    result = train_round(changed, texts, y, replace(SETTINGS, augment_probability=0.5), augment=shout)
    assert 50 < len(asked) < 110
    assert 0.3 * len(asked) < result.augmented < 0.7 * len(asked)
    assert set(asked) <= set(texts)
    assert not same(weights(plain), weights(changed))


def test_an_augmenter_that_changes_nothing_changes_nothing() -> None:
    texts, y = site(48)
    plain, unchanged = encoder(), encoder()
    train_round(plain, texts, y, SETTINGS)
    result = train_round(unchanged, texts, y, SETTINGS, augment=lambda text, rng: text)
    assert result.augmented == 0
    assert same(weights(plain), weights(unchanged))


def test_progress_and_result_count_steps_and_records() -> None:
    calls: list[tuple[int, int, float]] = []
    texts, y = site(50)
    settings = replace(SETTINGS, epochs=2, report_every=3)
    result = train_round(encoder(), texts, y, settings, progress_callback=lambda *call: calls.append(call))
    assert (result.steps, result.examples) == (8, 50)
    assert [call[:2] for call in calls] == [(3, 8), (6, 8), (8, 8)]
    assert result.loss == pytest.approx(np.average([c[2] for c in calls], weights=[3, 3, 2]), rel=0.05)
    assert result.seconds > 0
    assert result.precision in {"fp32", "bf16"}


def test_the_adversarial_method_runs_on_every_nth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from emr_fl_client.adversarial.freelb import FreeLB

    runs = []
    backward = FreeLB.backward
    monkeypatch.setattr(FreeLB, "backward", lambda *a: runs.append(1) or backward(*a))
    texts, y = site(80)
    settings = replace(SETTINGS, adversarial=AdversarialSettings(method="freelb", every=2))
    assert train_round(encoder(), texts, y, settings).steps == 5
    assert len(runs) == 3


def test_the_method_changes_with_the_phase_of_the_whole_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from emr_fl_client.adversarial.freelb import FreeLB

    seen: list[int] = []
    backward = FreeLB.backward
    monkeypatch.setattr(FreeLB, "backward", lambda *a: seen.append(a[0].settings.steps) or backward(*a))
    texts, y = site(80)
    settings = replace(SETTINGS, adversarial=AdversarialSettings(method="freelb", phases=(0, 1, 2)))
    counts = []
    for number in (1, 2, 3):
        seen.clear()
        train_round(encoder(), texts, y, settings, round_number=number, rounds=3)
        counts.append(list(seen))
    assert counts == [[], [1] * 5, [2] * 5]  # five steps a round


CONSISTENT = replace(SETTINGS, consistency=ConsistencySettings(weight=1.0))


def smudge(text: str, rng: random.Random) -> str:
    """The text without one of its characters."""
    place = rng.randrange(len(text))
    return text[:place] + text[place + 1 :]


def test_noised_copies_are_made_of_the_texts_that_are_trained_on() -> None:
    texts, y = site(48)
    asked: list[str] = []

    def noise(text: str, rng: random.Random) -> str:
        asked.append(text)
        return smudge(text, rng)

    first, again, half = encoder(), encoder(), encoder()
    train_round(first, texts, y, CONSISTENT, noise=noise, augment=lambda text, rng: text + "！")
    assert len(asked) == 48
    assert {text.removesuffix("！") for text in asked} <= set(texts)
    assert 10 < sum(text.endswith("！") for text in asked) < 38
    train_round(again, texts, y, CONSISTENT, noise=smudge, augment=lambda text, rng: text + "！")
    assert same(weights(first), weights(again))
    asked.clear()
    settings = replace(CONSISTENT, consistency=ConsistencySettings(weight=1.0, probability=0.5))
    train_round(half, texts, y, settings, noise=noise)
    assert 12 < len(asked) < 36


def test_consistency_changes_training_and_nothing_where_it_has_no_weight_or_no_noise() -> None:
    texts, y = site(48)
    trained = {}
    for name, settings, noise in [
        ("plain", SETTINGS, None),
        ("no weight", SETTINGS, smudge),
        ("no noise", CONSISTENT, None),
        ("nothing to change", CONSISTENT, lambda text, rng: text),
        ("consistent", CONSISTENT, smudge),
    ]:
        trained[name] = encoder()
        train_round(trained[name], texts, y, settings, noise=noise)
    for name in ("no weight", "no noise", "nothing to change"):
        assert same(weights(trained["plain"]), weights(trained[name])), name
    assert not same(weights(trained["plain"]), weights(trained["consistent"]))


def test_consistency_brings_notes_and_their_noised_copies_together() -> None:
    texts, y = site()
    rng = random.Random(5)
    copies = [smudge(text, rng) for text in texts]
    distances = []
    for settings in (SETTINGS, replace(CONSISTENT, consistency=ConsistencySettings(weight=5.0))):
        trained = encoder()
        train_round(trained, texts, y, replace(settings, epochs=8), noise=smudge)
        clean, noised = (
            predict_logits(trained.model, encode(trained.tokenizer, some, 40)) for some in (texts, copies)
        )
        distances.append(np.abs(clean - noised).mean() / np.abs(clean).mean())
    assert distances[1] < 0.8 * distances[0]


def test_a_large_batch_goes_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    backward = Plain.backward

    def observed(method, model, batch, loss, context):
        sizes.append((len(batch.targets), context.part))
        return backward(method, model, batch, loss, context)

    monkeypatch.setattr(Plain, "backward", observed)
    texts, y = site(32)
    result = train_round(encoder(), texts, y, replace(SETTINGS, micro_batch=6))
    assert sizes == [(6, 0), (5, 1), (5, 2)] * 2
    assert result.steps == 2


def test_freelb_without_radius_and_one_step_is_plain_training() -> None:
    texts, y = site(48)
    plain, freelb = encoder(), encoder()
    train_round(plain, texts, y, SETTINGS)
    settings = AdversarialSettings(method="freelb", steps=1, radius=0.0)
    train_round(freelb, texts, y, replace(SETTINGS, adversarial=settings))
    assert same(weights(plain), weights(freelb))


def test_a_loss_that_is_not_finite_stops_with_one_message() -> None:
    trained, (texts, y) = encoder(), site(32)
    with torch.no_grad():
        trained.model.classifier.weight.fill_(float("inf"))
    with pytest.raises(ModelError, match="diverged") as caught:
        train_round(trained, texts, y, SETTINGS)
    assert not any(text in str(caught.value) for text in texts)


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    texts, y = site(16)
    settings = replace(SETTINGS, adversarial=AdversarialSettings(method="smrat"))
    with pytest.raises(SettingsError, match=r"none \| fgsm \| pgd \| freelb \| vat \| smart"):
        train_round(encoder(), texts, y, settings)


MIXUP = replace(SETTINGS, mixup_probability=1.0)
AVERAGED = replace(FREELB, averaging=AveragingSettings("ema"))


@pytest.mark.parametrize("settings", [MIXUP, AVERAGED], ids=["mixup", "ema"])
def test_what_is_new_is_repeatable_and_keeps_the_rows_of_labels_that_the_site_never_saw(settings) -> None:
    texts, y = site(48)
    y[:, 2] = False
    first, again = encoder(), encoder()
    before = weights(first)["classifier.weight"]
    for trained in (first, again):
        train_round(trained, texts, y, settings, label_mask=y.any(axis=0))
    assert same(weights(first), weights(again))
    moved = (before != weights(first)["classifier.weight"]).any(dim=1)
    assert moved.tolist() == [True, True, False, True]


def test_mixing_draws_from_a_generator_of_its_own_and_only_its_share_of_the_batches(monkeypatch) -> None:
    from emr_fl_client.training import loop

    texts, y = site(80)
    settings = replace(FREELB, epochs=2)
    plain, unmixed = encoder(), encoder()
    train_round(plain, texts, y, settings)
    mixed: list[int] = []

    def drawn_but_not_mixed(batch: Batch, alpha: float, generator: np.random.Generator) -> Batch:
        mixed.append(len(mix(batch, alpha, generator).targets))
        return batch

    monkeypatch.setattr(loop, "mix", drawn_but_not_mixed)
    result = train_round(unmixed, texts, y, replace(settings, mixup_probability=0.4))
    assert 0 < len(mixed) < result.steps
    # everything was drawn for nothing: sampling, batches, δ₀ and dropout are those of training without MixUp
    assert same(weights(plain), weights(unmixed))


def test_an_average_of_the_last_step_only_is_training_without_an_average() -> None:
    texts, y = site(48)
    plain, averaged = encoder(), encoder()
    train_round(plain, texts, y, SETTINGS)
    train_round(averaged, texts, y, replace(SETTINGS, averaging=AveragingSettings("ema", decay=0.0)))
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(averaged)[name], tensor)


def test_losses_see_the_frequencies_that_the_site_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from emr_fl_client.training import loop

    seen = []

    def of(y, weights, device):
        seen.append(weights)
        return LabelFrequencies.of(y, weights, device)

    monkeypatch.setattr(loop, "LabelFrequencies", SimpleNamespace(of=of))
    texts, y = site(48)
    y[8:, 0] = False
    train_round(encoder(), texts, y, replace(SETTINGS, loss=LossSettings("logit_adjusted")))
    np.testing.assert_allclose(seen[0], balanced_weights(y, 0.5))
    train_round(encoder(), texts, y, replace(SETTINGS, balance=0.0))
    assert seen[1] is None


def test_no_record_is_refused() -> None:
    with pytest.raises(DataError, match="no record"):
        train_round(encoder(), [], np.zeros((0, 4), dtype=np.bool_), SETTINGS)
