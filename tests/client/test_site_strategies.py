"""What the strategies ask of a site, with a real one: its records, its training, its disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_notes
from emr_fl_client.dataset.sampling import effective_count
from emr_fl_client.site import Site, Trained
from emr_fl_shared.config.settings import Policy, SiteSettings
from emr_fl_shared.errors import FederationError
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.payload import CONTROL, beside, pack_tensors, unpack_tensors
from emr_fl_shared.wire import TrainRequest
from quick_training import QUICK_TRAINING

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经", "nobody"])
TRAINING = QUICK_TRAINING
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    write_notes(folder / "records.csv", 60, 1)
    return Site("north", SiteSettings(source=str(folder / "records.csv")), folder / "prepared", b"k" * 32)


@pytest.fixture(scope="module")
def model() -> Arrays:
    return tensors_of(build_model("tiny", TAXONOMY.names, max_length=32, seed=0).model)


@pytest.fixture
def fresh(site: Site, tmp_path: Path) -> Site:
    """The same site with an empty folder for what it keeps from round to round; its records are prepared once."""
    site.data(TAXONOMY, TRAINING, 7)
    fresh = Site(site.name, site.settings, tmp_path / "state", site.key)
    fresh._data, fresh._encoder = site._data, site._encoder
    return fresh


def request(number: int = 1, **changes: Any) -> TrainRequest:
    return TrainRequest.model_validate(
        {
            "run": "r",
            "round": number,
            "rounds": 4,
            "seed": 7,
            "model": {"name": "tiny", "max_length": 32},
            "taxonomy": TAXONOMY.to_json(),
            "training": TRAINING.model_dump(mode="json"),
            "decision": Decision().to_json(),
            **changes,
        }
    )


def down(model: Mapping[str, Any], control: float | None = None) -> bytes:
    tensors = dict(model)
    if control is not None:
        tensors |= {beside(CONTROL, name): np.full_like(array, control) for name, array in model.items()}
    return pack_tensors(tensors).data


def parts(trained: Trained, form: Any = "fp32") -> tuple[Arrays, Arrays]:
    """The difference and the control variate of an update."""
    arrays = unpack_tensors(trained.update, trained.shapes, form)
    own = {name.partition("::")[2]: array for name, array in arrays.items() if "::" in name}
    return {name: array for name, array in arrays.items() if "::" not in name}, own


def test_zero_mu_and_controls_of_zero_change_no_bit_of_the_update(fresh: Site, model: Arrays) -> None:
    plain = fresh.train(request(), down(model))
    assert fresh.train(request(proximal=0.0, label_counts=[]), down(model)).update == plain.update
    near, _ = parts(fresh.train(request(proximal=5.0), down(model)))
    far, own = parts(plain)
    assert not own
    assert sum(float((a**2).sum()) for a in near.values()) < sum(float((a**2).sum()) for a in far.values())
    difference, own = parts(fresh.train(request(controls=True), down(model, 0.0)))
    for name, array in difference.items():
        np.testing.assert_array_equal(array, far[name])
    assert own.keys() == model.keys()
    assert any(array.any() for array in own.values())


def test_labels_that_the_site_does_not_have_stay_out_of_it(fresh: Site, model: Arrays) -> None:
    absent = TAXONOMY.names.index("nobody")
    for changes, payload in (
        ({"proximal": 1.0}, down(model)),
        ({"controls": True}, down(model, 0.01)),
        ({"controls": True, "payload": "int8"}, down(model, 0.01)),
    ):
        difference, own = parts(fresh.train(request(**changes), payload), changes.get("payload", "fp32"))
        for arrays in (difference, own) if own else (difference,):
            rows = np.abs(arrays["classifier.weight"]).sum(axis=1) + np.abs(arrays["classifier.bias"])
            assert rows[absent] == 0.0
            assert (np.delete(rows, absent) > 0).all()


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_a_question_that_comes_again_finds_the_same_control(fresh: Site, model: Arrays, form: str) -> None:
    first = fresh.train(request(1, controls=True, payload=form), down(model, 0.0))
    second = fresh.train(request(2, controls=True, payload=form), down(model, 0.02))
    # the answer is lost on the way and the site has kept nothing of it but its control variates
    for path in fresh.state_folder.glob("kept-update.*"):
        path.unlink()
    assert fresh.train(request(2, controls=True, payload=form), down(model, 0.02)).update == second.update
    # the coordinator goes back to its checkpoint of round 0 with another model, then asks round 2 as before
    other = {name: array * np.float32(1.01) for name, array in model.items()}
    changed = fresh.train(request(1, controls=True, payload=form), down(other, 0.0))
    assert changed.update != first.update
    again = fresh.train(request(2, controls=True, payload=form), down(model, 0.02))
    assert again.update != second.update, "round 1 went another way"
    assert fresh.train(request(1, controls=True, payload=form), down(model, 0.0)).update == first.update
    assert fresh.train(request(2, controls=True, payload=form), down(model, 0.02)).update == second.update


@pytest.mark.parametrize("form", ["fp32", "bf16", "int8"])
def test_site_and_server_go_on_from_the_same_control(fresh: Site, model: Arrays, form: Any) -> None:
    _, sent = parts(fresh.train(request(1, controls=True, payload=form), down(model, 0.0)), form)
    shapes = {name: array.shape for name, array in model.items()}
    kept = fresh._controls(request(2)).before(2, shapes)
    assert kept is not None
    for name, array in sent.items():
        np.testing.assert_array_equal(kept[name], array)


def test_what_int8_lost_of_the_difference_is_sent_later_and_of_the_control_is_not(
    fresh: Site, model: Arrays
) -> None:
    fresh.train(request(1, controls=True, payload="int8"), down(model, 0.0))
    shapes = {name: array.shape for name, array in model.items()}
    residual = unpack_tensors(fresh._residual_file(1).read_bytes(), shapes)
    assert any(array.any() for array in residual.values())
    second = fresh.train(request(2, controls=True, payload="int8"), down(model, 0.0))
    fresh._residual_file(1).unlink()
    for path in fresh.state_folder.glob("kept-update.*"):
        path.unlink()
    without = fresh.train(request(2, controls=True, payload="int8"), down(model, 0.0))
    assert second.update != without.update
    for name, array in parts(second, "int8")[1].items():
        np.testing.assert_array_equal(array, parts(without, "int8")[1][name])


def test_a_model_without_its_control_is_refused(fresh: Site, model: Arrays) -> None:
    with pytest.raises(FederationError, match="does not fit"):
        fresh.train(request(controls=True), down(model))
    with pytest.raises(FederationError, match="does not fit"):
        fresh.train(request(), down(model, 0.0))


def test_label_counts_and_their_effective_number(fresh: Site, model: Arrays) -> None:
    plain = fresh.train(request(), down(model))
    assert (plain.label_counts, plain.effective_labels) == (None, None)
    asked = fresh.train(request(label_counts=[], effective_beta=0.9), down(model))
    data = fresh.data(TAXONOMY, TRAINING, 7)
    counts = data.labels(data.train).sum(axis=0)
    assert asked.label_counts == counts.tolist()
    assert asked.effective_labels == pytest.approx(effective_count(counts, 0.9))
    assert Trained.from_figures(asked.update, asked.figures()) == asked


def test_the_federations_counts_change_what_is_drawn(fresh: Site, model: Arrays) -> None:
    own = fresh.train(request(), down(model))
    fewer = fresh.train(request(label_counts=[0, 1, 1, 1]), down(model))
    assert fewer.update == own.update, "never fewer than the site has"
    more = fresh.train(request(label_counts=[0, 10_000, 1, 1]), down(model))
    assert more.update != own.update
    with pytest.raises(FederationError, match="malformed"):
        fresh.train(request(label_counts=[1]), down(model))


def norm(arrays: Arrays) -> float:
    return float(np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in arrays.values())))


def bounded(site: Site, limit: float | None, folder: Path) -> Site:
    policy = Policy(max_update_norm=limit)
    bound = Site(site.name, site.settings.model_copy(update={"policy": policy}), folder, site.key)
    bound._data, bound._encoder = site._data, site._encoder
    return bound


@pytest.mark.parametrize("form", ["fp32", "bf16", "int8"])
def test_the_policys_norm_is_kept_and_error_feedback_stays_right(
    fresh: Site, model: Arrays, tmp_path: Path, form: Any
) -> None:
    free, _ = parts(fresh.train(request(payload=form), down(model)), form)
    limit = norm(free) / 3
    site = bounded(fresh, limit, tmp_path / "bounded")
    trained = site.train(request(payload=form), down(model))
    sent, _ = parts(trained, form)
    assert 0.98 * limit < norm(sent) <= limit * (1 + 1e-6)
    assert trained.scale == pytest.approx(1 / 3, rel=0.02)
    if form == "fp32":
        return
    # what is left over for the next round is what rounding lost, not what the norm cut off
    shapes = {name: array.shape for name, array in model.items()}
    residual = unpack_tensors(site._residual_file(1).read_bytes(), shapes)
    assert norm(residual) < 0.1 * limit
    exact, _ = parts(bounded(fresh, limit, tmp_path / "exact").train(request(), down(model)), "fp32")
    whole = {name: sent[name] + residual[name] for name in sent}
    assert norm({name: whole[name] - exact[name] for name in sent}) < 0.02 * limit


def test_a_norm_that_is_not_reached_changes_no_bit_and_another_limit_is_another_answer(
    fresh: Site, model: Arrays, tmp_path: Path
) -> None:
    free = fresh.train(request(payload="int8"), down(model))
    wide = bounded(fresh, 1e6, tmp_path / "wide").train(request(payload="int8"), down(model))
    assert (wide.update, wide.scale) == (free.update, 1.0)
    narrow = bounded(fresh, 0.01, tmp_path / "wide").train(request(payload="int8"), down(model))
    assert narrow.scale < 1.0, "the update that is kept was made for another limit"


def test_a_control_variate_is_held_to_the_same_norm(fresh: Site, model: Arrays, tmp_path: Path) -> None:
    site = bounded(fresh, 0.01, tmp_path / "bounded")
    sent, own = parts(site.train(request(controls=True, payload="int8"), down(model, 0.0)), "int8")
    assert norm(sent) <= 0.01 * (1 + 1e-6) and 0.0 < norm(own) <= 0.01 * (1 + 1e-6)
    shapes = {name: array.shape for name, array in model.items()}
    kept = site._controls(request(2)).before(2, shapes)
    assert kept is not None
    for name, array in own.items():
        np.testing.assert_array_equal(kept[name], array)
