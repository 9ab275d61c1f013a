"""A site under differential privacy, with a real one: its records, its ledger, what it gives and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emr_fl_client import private
from emr_fl_client.budget import LEDGER, PrivacyLedger
from emr_fl_client.site import Site
from emr_fl_shared.config.settings import SiteSettings, Training
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.payload import pack_tensors, unpack_tensors
from emr_fl_shared.wire import EvaluateRequest, TrainRequest

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])
PRIVATE: dict[str, Any] = {
    "epochs": 1,
    "learning_rate": 2e-3,
    "batch_size": 16,
    "balance": 0.0,
    "mask_absent_labels": False,
    "adversarial": {"method": "freelb", "steps": 2, "top_loss": 1.0},
    "augmentation": {"enabled": False},
}
WISH: dict[str, Any] = {"enabled": True, "target_epsilon": 3.0, "delta": 1e-3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Sixty records of twenty patients."""
    folder = tmp_path_factory.mktemp("site")
    with (folder / "records.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "labels", "patient_id"])
        signs = {"呼吸": "咳嗽", "消化": "腹痛", "神经": "头痛"}
        for row in range(60):
            label = sorted(signs)[row % 3]
            writer.writerow([f"{signs[label]}{row}天，查体第{row * 7}项未见异常。", label, f"P{row % 20}"])
    site = Site("north", SiteSettings(source=str(folder / "records.csv")), folder / "prepared", b"k" * 32)
    site.data(TAXONOMY, Training.model_validate(PRIVATE), 7)
    return site


@pytest.fixture(scope="module")
def model() -> bytes:
    return pack_tensors(tensors_of(build_model("tiny", TAXONOMY.names, max_length=32, seed=0).model)).data


@pytest.fixture
def site(prepared: Site, tmp_path: Path) -> Site:
    fresh = Site(prepared.name, prepared.settings, tmp_path / "state", prepared.key)
    fresh._data, fresh._encoder = prepared._data, prepared._encoder
    return fresh


def request(number: int = 1, training: dict[str, Any] | None = None, **changes: Any) -> TrainRequest:
    settings = Training.model_validate({**PRIVATE, **(training or {})})
    return TrainRequest.model_validate(
        {
            "run": "r",
            "round": number,
            "rounds": 3,
            "seed": 7,
            "model": {"name": "tiny", "max_length": 32},
            "taxonomy": TAXONOMY.to_json(),
            "training": settings.model_dump(mode="json"),
            "decision": Decision().to_json(),
            "privacy": WISH,
            **changes,
        }
    )


def test_an_update_with_what_it_spent_and_nothing_that_no_budget_counts(site: Site, model: bytes) -> None:
    trained = site.train(request(), model)
    assert trained.epsilon is not None and 0 < trained.epsilon <= 3.0
    assert (trained.delta, trained.unit) == (1e-3, "record")
    assert (trained.loss, trained.received, trained.label_counts, trained.effective_labels) == (None,) * 4
    assert trained.single_label is False, "of one record it would tell whether it has two labels"
    arrays = unpack_tensors(trained.update, trained.shapes)
    assert all(array.any() and np.isfinite(array).all() for array in arrays.values())
    assert (arrays["classifier.weight"] != 0).all()


def test_the_same_request_and_seed_never_give_the_same_noise(
    site: Site, model: bytes, tmp_path: Path
) -> None:
    """Planted mistake: noise from the seed that the server sent. Two sites with equal records would be told apart by nothing."""
    twin = replace(site, state_folder=tmp_path / "twin")
    one, other = (unpack_tensors(s.train(request(), model).update, shapes_of(s)) for s in (site, twin))
    for name, array in one.items():
        assert not np.array_equal(array, other[name]), name


def shapes_of(site: Site) -> dict[str, tuple[int, ...]]:
    assert site._encoder is not None
    return {name: tensor.shape for name, tensor in tensors_of(site._encoder[1].model).items()}


def test_a_finished_update_is_sent_again_and_not_drawn_again(site: Site, model: bytes) -> None:
    first = site.train(request(), model)
    spent = (site.state_folder / LEDGER).read_bytes()
    again = replace(site).train(request(), model)
    assert (again.update, again.epsilon) == (first.update, first.epsilon)
    assert (site.state_folder / LEDGER).read_bytes() == spent


def test_a_crash_in_the_middle_has_spent_the_round(
    site: Site, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        assert PrivacyLedger(site.state_folder, site.key).history(), "on disk before the first step"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(private, "train_round_privately", dies)
        site.train(request(), model)
    after = site.train(request(), model)
    assert len(PrivacyLedger(site.state_folder, site.key).history()) == 2
    fresh = replace(site, state_folder=site.state_folder / "other").train(request(), model)
    assert after.epsilon is not None and fresh.epsilon is not None and after.epsilon > fresh.epsilon


def test_it_stops_when_the_budget_is_spent_and_another_run_changes_nothing(site: Site, model: bytes) -> None:
    for number in (1, 2, 3):
        site.train(request(number), model)
    with pytest.raises(BudgetSpent) as refused:
        site.train(request(1, run="another"), model)
    assert refused.value.exit_code == 3
    # without differential privacy what was promised would be void
    with pytest.raises(PolicyError, match="would void it"):
        site.train(request(1, run="another", privacy={}), model)


def test_no_score_of_the_final_model(site: Site, prepared: Site, model: bytes) -> None:
    asked = request().model_dump(exclude={"kind", "protocol", "rounds", "payload", "proximal", "controls"})
    plain = {**asked, "privacy": {}}
    for unknown in ("effective_beta", "label_counts"):
        plain.pop(unknown)
    evaluate = EvaluateRequest.model_validate(plain)
    assert site.evaluate(evaluate, model) is not None
    assert site.evaluate(evaluate.model_copy(update={"privacy": WISH}), model) is None
    site.train(request(), model)
    assert site.evaluate(evaluate, model) is None, "its records have a budget"


@pytest.mark.parametrize(
    ("training", "changes", "place"),
    [
        ({"mixup": {"probability": 0.5}}, {}, "training.mixup.probability"),
        ({"adversarial": {"method": "freelb", "top_loss": 0.5}}, {}, "training.adversarial.top_loss"),
        ({"adversarial": {"method": "smart"}}, {}, "training.adversarial.method"),
        ({"adversarial": {"method": "vat"}}, {}, "training.adversarial.method"),
        ({"consistency": {"weight": 1.0}}, {}, "training.consistency.weight"),
        ({"balance": 0.5}, {}, "training.balance"),
        ({"mask_absent_labels": True}, {}, "training.mask_absent_labels"),
        ({"loss": {"alpha": "balanced"}}, {}, "training.loss.alpha"),
        ({"loss": {"kind": "logit_adjusted"}}, {}, "training.loss.kind"),
        ({"precision": "bf16"}, {}, "training.precision"),
        ({}, {"controls": True}, "controls"),
        ({}, {"effective_beta": 0.9}, "effective_beta"),
        ({}, {"label_counts": []}, "label_counts"),
    ],
)
def test_a_server_that_asks_for_what_would_void_it_is_refused_before_anything_is_spent(
    site: Site, model: bytes, training: dict[str, Any], changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        site.train(request(training=training, **changes), model)
    assert refused.value.where == place
    assert not (site.state_folder / LEDGER).exists()


def test_patients_as_units(site: Site, model: bytes) -> None:
    wish = {**WISH, "unit": "patient", "records_per_patient": 2}
    trained = site.train(request(privacy=wish), model)
    assert trained.unit == "patient"
    assert site._data is not None
    patients = {site._data[1].prepared.patients[row] for row in site._data[1].train}
    (spent,) = PrivacyLedger(site.state_folder, site.key).history()
    assert spent.sample_rate == 16 / len(patients), "patients are drawn, not records"
    found = json.loads((site.state_folder / LEDGER).read_text())
    assert found["ledger"]["unit"] == "patient"


def test_frozen_embeddings_stay_and_int8_and_fedprox_go_with_it(site: Site, model: bytes) -> None:
    wish = {**WISH, "freeze_embeddings": True}
    trained = site.train(request(privacy=wish, payload="int8", proximal=0.1), model)
    arrays = unpack_tensors(trained.update, trained.shapes, "int8")
    still = [name for name, array in arrays.items() if not array.any()]
    assert len(still) == 1 and "embeddings" in still[0]
    assert site._encoder is not None
    assert all(p.requires_grad for p in site._encoder[1].model.parameters())
