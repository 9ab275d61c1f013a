"""The masked sum against the plain one: whole sessions with real members, with and without dropouts in each step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emr_fl_server.aggregation import MaskedMeans, Spool, advance, advance_by
from emr_fl_server.aggregation.fedavgm import FedAvgM
from emr_fl_shared.errors import DataError, EmrFlError, FederationError
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.secure_aggregation.fixed_point import FixedPoint, Weights
from emr_fl_shared.secure_aggregation.parameters import FEWEST_SURVIVORS, Parameters, threshold
from masking_group import PARAMETERS, Group, Session, Tensors, left, names_of, shapes_of

STEPS = ("keys", "shares", "masked", "consent", "reveal")


def updates_of(names: list[str], seed: int = 0) -> tuple[dict[str, Tensors], dict[str, float]]:
    draw = np.random.default_rng(seed)
    updates = {
        name: {
            "layer.weight": draw.normal(0, 0.05, (17, 9)).astype(np.float32),
            "layer.bias": draw.normal(0, 0.05, 9).astype(np.float32),
            "scalar": np.asarray(draw.normal(0, 0.05), dtype=np.float32),
        }
        for name in names
    }
    return updates, {name: float(draw.integers(20, 900)) for name in names}


def bound(parameters: Parameters, members: int, weights: list[float]) -> float:
    """Most that quantisation may take from a weighted mean."""
    shares = sum(min(weight, parameters.largest_weight) / parameters.largest_weight for weight in weights)
    return len(weights) * FixedPoint(parameters.bits, parameters.clip, members).error / shares


def assert_mean(
    means: MaskedMeans,
    updates: dict[str, Tensors],
    weights: dict[str, float],
    names: list[str],
    allowed: float,
) -> None:
    total = sum(weights[name] for name in names)
    for tensor in updates[names[0]]:
        plain = sum(weights[name] / total * updates[name][tensor].astype(np.float64) for name in names)
        # 2e-7: what is handed on is fp32
        np.testing.assert_allclose(means.of(tensor), plain, rtol=2e-7, atol=1.001 * allowed + 1e-9)


CASES = [
    *((mode, "keys", count, 0) for mode in ("hostile", "curious") for count in (3, 5, 20)),
    *(("hostile", step, count, gone) for step in STEPS for count, gone in ((5, 1), (20, 6))),
    *(("curious", step, 20, 6) for step in STEPS if step != "consent"),
]


@pytest.mark.parametrize(("mode", "step", "count", "gone"), CASES)
def test_the_sum_is_the_plain_one_whoever_drops_out(
    tmp_path: Path, mode: str, step: str, count: int, gone: int
) -> None:
    names = names_of(count)
    parameters = PARAMETERS.model_copy(update={"mode": mode})
    session = Group(tmp_path, names, parameters).session()
    updates, weights = updates_of(names)
    dropped = names[1 : 1 + gone]
    means = session.run(updates, weights, {step: dropped})
    survivors = names if step in ("consent", "reveal") else left(names, dropped)
    members = len(names) - (gone if step == "keys" else 0)
    assert session.opening.survivors == survivors
    allowed = bound(parameters, members, [weights[name] for name in survivors])
    assert allowed < 1e-6
    assert_mean(means, updates, weights, survivors, allowed)


def test_dropouts_in_every_step_at_once(tmp_path: Path) -> None:
    names = names_of(20)
    session = Group(tmp_path, names, PARAMETERS.model_copy(update={"mode": "curious"})).session()
    updates, weights = updates_of(names)
    means = session.run(updates, weights, {"shares": names[:2], "masked": names[2:4], "reveal": names[4:6]})
    survivors = names[4:]
    allowed = bound(session.setting.parameters, 20, [weights[name] for name in survivors])
    assert_mean(means, updates, weights, survivors, allowed)


def test_sixteen_bits_keep_to_their_own_bound(tmp_path: Path) -> None:
    names = names_of(5)
    parameters = PARAMETERS.model_copy(update={"bits": 16, "clip": 0.25})
    session = Group(tmp_path, names, parameters).session()
    updates, weights = updates_of(names)
    means = session.run(updates, weights)
    allowed = bound(parameters, 5, list(weights.values()))
    assert 1e-6 < allowed < 1e-3
    assert_mean(means, updates, weights, names, allowed)
    sizes = [len(masked.payload) for masked in session.vectors.values()]
    assert max(sizes) < len(pack_tensors(updates[names[0]]).data)


def test_values_are_cut_and_norms_scaled_as_agreed(tmp_path: Path) -> None:
    names = names_of(3)
    parameters = PARAMETERS.model_copy(update={"clip": 0.5, "max_norm": 2.0})
    session = Group(tmp_path, names, parameters).session()
    large = {"w": np.asarray([3.0, 4.0], np.float32)}  # scaled to (1.2, 1.6), then cut to 0.5
    small = {"w": np.asarray([0.25, -0.75], np.float32)}
    updates = {names[0]: large, names[1]: small, names[2]: small}
    means = session.run(updates, dict.fromkeys(names, 100.0))
    expected = (np.asarray([0.5, 0.5]) + 2 * np.asarray([0.25, -0.5])) / 3
    np.testing.assert_allclose(means.of("w"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "step", "gone"),
    [("hostile", "reveal", 2), ("hostile", "consent", 2), ("curious", "reveal", 3)],
)
def test_below_the_threshold_nothing_is_opened(tmp_path: Path, mode: str, step: str, gone: int) -> None:
    names = names_of(5)
    session = Group(tmp_path, names, PARAMETERS.model_copy(update={"mode": mode})).session()
    updates, weights = updates_of(names)
    with pytest.raises(EmrFlError, match=r"too few"):
        session.run(updates, weights, {step: names[:gone]})


def test_thresholds() -> None:
    assert [threshold(n, "hostile") for n in (3, 4, 5, 20)] == [3, 3, 4, 14]
    assert [threshold(n, "curious") for n in (3, 4, 5, 20)] == [2, 3, 3, 11]
    assert FEWEST_SURVIVORS == 3


def test_label_rows_are_averaged_over_the_sites_that_moved_them(tmp_path: Path) -> None:
    """The same model as from spooled updates, momentum included, rows that nobody moved too."""
    names = names_of(4)
    updates, weights = updates_of(names)
    draw = np.random.default_rng(5)
    moved = {name: draw.random(6) < 0.5 for name in names}
    for name in names:
        moved[name][0], moved[name][1] = False, True
        head = draw.normal(0, 0.05, (6, 4)).astype(np.float32)
        bias = draw.normal(0, 0.05, 6).astype(np.float32)
        updates[name] |= {"head.weight": head * moved[name][:, None], "head.bias": bias * moved[name]}
    rows = ["head.weight", "head.bias"]
    means = Group(tmp_path / "m", names).session().run(updates, weights, label_tensors=rows)
    model = {name: np.ones_like(tensor) for name, tensor in updates[names[0]].items()}
    kept = {"momentum": {name: np.full_like(tensor, 0.5) for name, tensor in model.items()}}
    strategy = FedAvgM(learning_rate=1.0, momentum=0.9)
    spool = Spool(tmp_path / "spool", shapes_of(model), "fp32")
    for name in names:
        spool.accept(name, pack_tensors(updates[name]).data, weights[name])
    plain, plain_kept = advance(strategy, model, kept, spool.updates, row_masks=moved, row_tensors=rows)
    masked, masked_kept = advance_by(strategy, model, kept, means)
    for name in model:
        np.testing.assert_allclose(masked[name], plain[name], atol=2e-6)
        np.testing.assert_allclose(masked_kept["momentum"][name], plain_kept["momentum"][name], atol=2e-6)
    assert (masked["head.weight"][0] == 1).all()
    assert (masked_kept["momentum"]["head.bias"][0] == 0.5).all()


# --- what a site with ill will can do ----------------------------------------------------------------------------------


def prepared(tmp_path: Path) -> tuple[Session, dict[str, Tensors], dict[str, float]]:
    names = names_of(4)
    session = Group(tmp_path, names).session()
    updates, weights = updates_of(names)
    session.keys()
    session.shares()
    session.opening.expect(shapes_of(updates[names[0]]), 0)
    return session, updates, weights


@pytest.mark.parametrize(
    "what", ["another payload", "another signature", "a larger norm", "too short", "twice"]
)
def test_a_vector_that_is_not_as_signed_is_not_added(tmp_path: Path, what: str) -> None:
    session, updates, weights = prepared(tmp_path)
    names = session.opening.members
    for name in names[:3]:
        reply, masked = session.mask(name, updates[name], weights[name])
        session.opening.add_masked(name, reply, masked.payload)
    name = names[3]
    reply, masked = session.mask(name, updates[name], weights[name])
    payload = masked.payload
    if what == "another payload":
        payload = payload[:-1] + bytes([payload[-1] ^ 1])
    elif what == "another signature":
        reply = reply.model_copy(
            update={"signature": session.mask(names[0], updates[names[0]], weights[names[0]])[0].signature}
        )
    elif what == "a larger norm":
        reply = reply.model_copy(update={"norm_bound": 1e9})
    elif what == "too short":
        payload = payload[:100]
    else:
        session.opening.add_masked(name, reply, payload)
    with pytest.raises(EmrFlError):
        session.opening.add_masked(name, reply, payload)
    session.opening.close_masked()
    assert session.opening.survivors == (names if what == "twice" else names[:3])
    session.consent()
    session.reveal()
    survivors = session.opening.survivors
    means = session.opening.open(())
    assert_mean(
        means, updates, weights, survivors, bound(PARAMETERS, 4, [weights[name] for name in survivors])
    )


def test_a_site_that_lies_about_its_norm_shows_in_the_sum(tmp_path: Path) -> None:
    """It can't be told from the others, but the round does not count."""
    names = names_of(4)
    honest = Group(tmp_path, names)
    session = honest.session()
    updates, weights = updates_of(names)
    parameters = replace(session.setting, parameters=PARAMETERS.model_copy(update={"max_norm": 0.001}))
    session.run(updates, weights)  # the same without the bound
    again = honest.session()
    again.keys()
    again.shares()
    again.question = "another"
    again.masked(updates, weights)
    again.consent()
    again.reveal()
    again.opening._sum._parameters = parameters.parameters  # type: ignore[union-attr]
    with pytest.raises(FederationError, match="honest"):
        again.opening.open(())


def test_a_wrong_share_is_noticed(tmp_path: Path) -> None:
    session, updates, weights = prepared(tmp_path)
    session.masked(updates, weights)
    session.consent()
    names = session.opening.members
    for name in names[:3]:
        reply = session.group.members[name].reveal(session.reveal_request())
        if name == names[1]:
            owner = names[2]
            reply = reply.model_copy(update={"seeds": {**reply.seeds, owner: "00" * 32}})
        session.opening.add_reveal(name, reply)
    with pytest.raises(FederationError, match="committed"):
        session.opening.open(())


def test_masks_that_stay_in_the_sum_are_noticed(tmp_path: Path) -> None:
    session, updates, weights = prepared(tmp_path)
    session.masked(updates, weights)
    assert session.opening._sum is not None
    with pytest.raises(FederationError, match="honest"):
        session.opening._sum.opened(())


def test_a_vector_of_another_ring_or_with_other_rows_is_refused(tmp_path: Path) -> None:
    session, updates, weights = prepared(tmp_path)
    _, masked = session.mask(session.opening.members[0], updates["site-00"], weights["site-00"])
    for bits, rows in ((16, 0), (32, 3)):
        session.opening.setting = replace(
            session.setting, parameters=PARAMETERS.model_copy(update={"bits": bits})
        )
        session.opening.expect(shapes_of(updates["site-00"]), rows)
        with pytest.raises(DataError, match="masked vector"):
            session.opening._sum.check(masked.payload)  # type: ignore[union-attr]


def test_a_sum_of_weights_is_one_of_so_many_sites() -> None:
    weights = Weights(10.0, 4)
    steps = weights.steps(25.0)
    assert weights.share(steps) == 1.0
    total = sum((weights.vector(steps, np.ones(2, bool)) for _ in range(4)), np.zeros(4, np.uint32))
    np.testing.assert_allclose(weights.shares(total, 4), 4.0)
    for wrong in ([3, 9, 9], [4, 9, 10], [4, 2**31, 9], [4, total[1] + 9, 0]):
        with pytest.raises(ValueError, match="sum of weights"):
            weights.shares(np.asarray(wrong, np.uint32), 4)
