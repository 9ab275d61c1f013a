"""What a federation keeps for its strategy: over rounds, over a crash, and beside what is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from emr_fl_server.aggregation import AVERAGE
from emr_fl_server.checkpoints import checkpoint_path, latest_checkpoint
from emr_fl_server.evaluation.evaluator import Evaluator, RoundScores
from emr_fl_server.federation import Federation, FederationState, evaluated
from emr_fl_shared.config import settings_from
from emr_fl_shared.errors import DataError, FederationError
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.payload import beside, pack_tensors, unpack_tensors
from emr_fl_shared.wire import MOST, TrainReply, TrainRequest, pack, unpack

SITES = ("north", "south", "west")
KINDS = {
    "fedavg": (),
    "fedprox": (),
    "fedavgm": ("momentum",),
    "fedadagrad": ("momentum", "second_moment"),
    "fedadam": ("momentum", "second_moment"),
    "fedyogi": ("momentum", "second_moment"),
    "scaffold": ("control",),
}


def federation(folder: Path, *, training: dict[str, Any] | None = None, **aggregation: Any) -> Federation:
    """A federation of three sites over a model of one linear layer with three labels."""

    def evaluator(taxonomy: Taxonomy) -> Evaluator:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Linear(2, len(taxonomy.labels)))
        return cast(Evaluator, SimpleNamespace(encoder=SimpleNamespace(model=model, labels=taxonomy.names)))

    tree = {"labels": {"taxonomy": "column"}, "aggregation": aggregation, "training": training or {}}
    made = Federation(
        settings_from(tree, where="test").resolved(), folder, evaluator, lambda: ["一", "二", "三"]
    )
    made.site_names = SITES
    made.agree({})
    return made


def reply(site: str, number: int, **changes: Any) -> TrainReply:
    fields: dict[str, Any] = {"loss": 0.5, "single_label": True, "payload": "fp32", "peak_rss_mb": 1.0}
    fields |= {"examples": 10, "validation_examples": 1, "steps": 1, "seconds": 1.0}
    return TrainReply(site=site, round=number, device="cpu", precision="fp32", **{**fields, **changes})


def update(
    made: Federation, state: FederationState, site: str, number: int, absent: int | None = None
) -> bytes:
    """What a site sends in a round, the same each time; nothing in the output row of a label that it does not have."""
    generator = np.random.default_rng([number, SITES.index(site)])
    tensors = {}
    for name, shape in made.shapes(state).items():
        tensors[name] = generator.normal(0, 0.1, shape).astype(np.float32)
        if absent is not None and name.rpartition("::")[2].startswith("1."):
            tensors[name][absent] = 0.0
    return pack_tensors(tensors).data


def run(
    made: Federation,
    state: FederationState,
    number: int,
    sites: tuple[str, ...] = SITES,
    score: float | None = None,
    absent: int | None = None,
) -> FederationState:
    """The part of `run_round` behind the asking."""
    admission = made.admission(number, state)
    for site in sites:
        admission.admit(site, number, reply(site, number), update(made, state, site, number, absent))
    tensors, stepped = admission.fold(made.strategy(len(sites)), state.tensors, state.kept, made.label_rows())
    kept = made.averaged(number, state, tensors, stepped)
    macro = 0.1 * number if score is None else score
    scores = RoundScores(Decision(), {"macro_f1": macro}, {"standard": {"macro_f1": macro}})
    timing = {"train_wall_s": 0.0, "aggregate_s": 0.0, "evaluate_s": 0.0, "bytes_down": 0}
    after = state.after(number, tensors, kept, scores, admission, timing)
    made.save(after)
    admission.discard()
    return after


def same(left: FederationState, right: FederationState) -> None:
    assert left.to_json() == right.to_json()
    assert left.stored().keys() == right.stored().keys()
    for name, tensor in left.stored().items():
        assert tensor.tobytes() == right.stored()[name].tobytes(), name


@pytest.mark.parametrize("ema", [0.0, 0.6])
@pytest.mark.parametrize("strategy", KINDS)
def test_a_run_taken_up_ends_with_the_same_bits(tmp_path: Path, strategy: str, ema: float) -> None:
    """After a crash between any two rounds, and after one that harmed the newest checkpoint."""
    whole = federation(tmp_path / "whole", strategy=strategy, ema=ema)
    state = whole.start()
    assert set(state.kept) == set(KINDS[strategy])
    states = [state := run(whole, state, number) for number in (1, 2, 3, 4)]
    for crash in (1, 2, 3):
        killed = federation(tmp_path / f"killed-{crash}", strategy=strategy, ema=ema)
        state = killed.start()
        for number in range(1, crash + 1):
            state = run(killed, state, number)
        again = federation(tmp_path / f"killed-{crash}", strategy=strategy, ema=ema)
        state = again.start()
        same(state, states[crash - 1])
        assert set(state.kept) == {*KINDS[strategy], *((AVERAGE,) if ema else ())}
        for number in range(crash + 1, 5):
            state = run(again, state, number)
        same(state, states[-1])
    newest = checkpoint_path(tmp_path / "whole" / "checkpoints", 4)
    newest.write_bytes(newest.read_bytes()[:-5])
    back = federation(tmp_path / "whole", strategy=strategy, ema=ema)
    state = back.start()
    same(state, states[2])
    same(run(back, state, 4), states[3])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"strategy": "fedavg"}, {"strategy": "fedadam"}, id="now one that keeps something"),
        pytest.param({"strategy": "fedadam"}, {"strategy": "fedavg"}, id="now one that keeps nothing"),
        pytest.param({"strategy": "fedadam"}, {"strategy": "fedavgm"}, id="now one that keeps less"),
        pytest.param({}, {"ema": 0.5}, id="now averaged"),
        pytest.param({"ema": 0.5}, {}, id="averaged before"),
    ],
)
def test_a_checkpoint_of_another_strategy_is_refused(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    made = federation(tmp_path, **first)
    run(made, made.start(), 1)
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    with pytest.raises(FederationError, match="another strategy"):
        federation(tmp_path, **second).start()
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    same(federation(tmp_path, **first).start(), made.start())


def test_fedavg_stores_the_model_and_nothing_else(tmp_path: Path) -> None:
    made = federation(tmp_path)
    state = run(made, made.start(), 1)
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.tensors.keys() == state.tensors.keys()
    assert "label_counts" not in checkpoint.state["federation"]
    assert unpack_tensors(made.round_payload(state), made.shapes(state)).keys() == state.tensors.keys()


# --- the average ----------------------------------------------------------------------------------------------------


def test_the_average_is_evaluated_and_saved_and_the_model_is_trained_on(tmp_path: Path) -> None:
    made = federation(tmp_path / "ema", ema=0.5)
    plain = federation(tmp_path / "plain")
    state, other = made.start(), plain.start()
    models = []
    for number in (1, 2, 3):
        state, other = run(made, state, number), run(plain, other, number)
        same(replace(state, kept={}), other)
        models.append(state.tensors)
    for name, average in evaluated(state.tensors, state.kept).items():
        expected = sum(w * m[name].astype(np.float64) for w, m in zip((1, 2, 4), models, strict=True)) / 7
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)
    sent = unpack_tensors(made.round_payload(state), made.shapes(state))
    for name, tensor in sent.items():
        np.testing.assert_array_equal(tensor, state.tensors[name])
    best = made.best(state)
    for name, tensor in unpack_tensors(made.model_payload(best), made.shapes(best)).items():
        np.testing.assert_array_equal(tensor, state.kept[AVERAGE][name])


def test_the_best_round_is_that_of_its_average(tmp_path: Path) -> None:
    made = federation(tmp_path, ema=0.5)
    states = [state := made.start()]
    for number, score in ((1, 0.2), (2, 0.9), (3, 0.5), (4, 0.4)):
        states.append(state := run(made, state, number, score=score))
    best = made.best(state)
    assert best.best_round == 2
    for name, tensor in best.tensors.items():
        np.testing.assert_array_equal(tensor, states[2].kept[AVERAGE][name])


# --- SCAFFOLD ---------------------------------------------------------------------------------------------------------


def test_the_control_goes_down_and_moves_by_the_share_of_sites(tmp_path: Path) -> None:
    made = federation(tmp_path, strategy="scaffold", label_rows="all")
    state = run(made, made.start(), 1)
    down = unpack_tensors(made.round_payload(state), made.shapes(state))
    name = next(iter(state.tensors))
    np.testing.assert_array_equal(down[beside("control", name)], state.kept["control"][name])
    assert (
        unpack_tensors(made.model_payload(state), {n: t.shape for n, t in state.tensors.items()}).keys()
        == state.tensors.keys()
    )
    after = run(made, state, 2, sites=("north", "west"))
    sent = [
        unpack_tensors(update(made, state, site, 2), made.shapes(state))[beside("control", name)]
        for site in ("north", "west")
    ]
    expected = state.kept["control"][name] / 3 + 2 / 3 * (sent[0] + sent[1]) / 2
    np.testing.assert_allclose(after.kept["control"][name], expected, rtol=1e-5, atol=1e-7)


def test_a_control_far_larger_than_the_others_is_refused(tmp_path: Path) -> None:
    made = federation(tmp_path, strategy="scaffold")
    state = made.start()
    admission = made.admission(1, state)
    for site in SITES:
        tensors = {name: np.ones(shape, np.float32) for name, shape in made.shapes(state).items()}
        if site == "west":
            for name in state.tensors:
                tensors[beside("control", name)] *= 1000
        admission.admit(site, 1, reply(site, 1), pack_tensors(tensors).data)
    assert list(admission.compare(1, made.max_norm_ratio)) == ["west"]
    assert sorted(admission.accepted) == ["north", "south"]


def test_an_update_without_its_control_is_refused(tmp_path: Path) -> None:
    made = federation(tmp_path, strategy="scaffold")
    state = made.start()
    plain = {name: np.ones_like(tensor) for name, tensor in state.tensors.items()}
    with pytest.raises(DataError):
        made.admission(1, state).admit("north", 1, reply("north", 1), pack_tensors(plain).data)


@pytest.mark.parametrize("strategy", KINDS)
def test_a_label_that_no_site_had_this_round_does_not_move(tmp_path: Path, strategy: str) -> None:
    made = federation(tmp_path, strategy=strategy)
    state = run(made, made.start(), 1)
    after = run(made, state, 2, absent=1)
    for name in ("1.weight", "1.bias"):
        for before_, after_ in (
            (state.tensors, after.tensors),
            *((state.kept[kind], after.kept[kind]) for kind in KINDS[strategy]),
        ):
            np.testing.assert_array_equal(after_[name][1], before_[name][1])
            assert (after_[name][0] != before_[name][0]).any()


# --- weights and counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("examples", (10 * 1 + 30 * 5) / 40), ("even", 3.0), ("effective_labels", (2 * 1 + 6 * 5) / 8)],
)
def test_updates_are_weighed_as_set(tmp_path: Path, weighting: str, expected: float) -> None:
    made = federation(tmp_path, weighting=weighting)
    state = made.start()
    admission = made.admission(1, state)
    for site, examples, effective, value in (("north", 10, 2.0, 1.0), ("south", 30, 6.0, 5.0)):
        tensors = {name: np.full(shape, value, np.float32) for name, shape in made.shapes(state).items()}
        answer = reply(site, 1, examples=examples, effective_labels=effective)
        admission.admit(site, 1, answer, pack_tensors(tensors).data)
    tensors_, _ = admission.fold(made.strategy(2), state.tensors, state.kept, made.label_rows())
    for name, tensor in tensors_.items():
        np.testing.assert_allclose(tensor - state.tensors[name], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="no weight"),
        pytest.param({"effective_labels": 1.0, "label_counts": [1, 2]}, id="counts of two labels"),
        pytest.param({"effective_labels": 1.0, "label_counts": [1, 2, 11]}, id="more than records"),
    ],
)
def test_a_reply_that_cannot_be_weighed_or_counted_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    made = federation(tmp_path, weighting="effective_labels")
    state = made.start()
    admission = made.admission(1, state)
    with pytest.raises(DataError):
        admission.admit("north", 1, reply("north", 1, **changes), update(made, state, "north", 1))
    assert not admission.accepted
    assert not list((tmp_path / "updates").glob("*.update"))


def test_counts_are_summed_kept_and_asked_for_only_where_they_are_used(tmp_path: Path) -> None:
    made = federation(tmp_path, training={"balance_by": "federation"})
    state = made.start()
    assert made.train_request(1, state).label_counts == []
    told = replace(state, round=1, label_counts={"north": [3, 0, 7], "south": [1, 2, 0]})
    request = made.train_request(2, told)
    assert request.label_counts == [4, 2, 7]
    made.save(replace(told, best_round=1))
    again = federation(tmp_path, training={"balance_by": "federation"}).start()
    assert made.train_request(2, again).label_counts == [4, 2, 7]
    assert pack(made.train_request(2, again)) == pack(request)
    most = made.train_request(2, replace(told, label_counts={"a": [MOST, 0, 0], "b": [MOST, 1, 0]}))
    assert unpack(pack(most), TrainRequest).label_counts == [MOST, 1, 0]
    assert federation(tmp_path / "own").train_request(2, told).label_counts is None


def test_a_site_that_told_once_is_counted_while_it_is_away(tmp_path: Path) -> None:
    made = federation(tmp_path, training={"balance_by": "federation"})
    state = made.start()
    for number, counts in (
        (1, {"north": [1, 1, 1], "south": [5, 0, 0]}),
        (2, {"north": [2, 1, 1], "south": None}),
    ):
        admission = made.admission(number, state)
        for site, told in counts.items():
            answer = reply(site, number, label_counts=told)
            admission.admit(site, number, answer, update(made, state, site, number))
        scores = RoundScores(Decision(), {"macro_f1": 0.5}, {})
        state = state.after(number, state.tensors, {}, scores, admission, {})
        admission.discard()
    assert state.label_counts == {"north": [2, 1, 1], "south": [5, 0, 0]}


@pytest.mark.parametrize("strategy", KINDS)
def test_only_the_strategy_that_is_set_is_asked_of_the_sites(tmp_path: Path, strategy: str) -> None:
    request = federation(tmp_path, strategy=strategy, fedprox={"mu": 0.25}).train_request(
        1, federation(tmp_path, strategy=strategy).start()
    )
    assert request.proximal == (0.25 if strategy == "fedprox" else 0.0)
    assert request.controls == (strategy == "scaffold")
    assert request.effective_beta is None and request.label_counts is None
