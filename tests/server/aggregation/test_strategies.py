"""Every strategy against numbers by hand, a slow float64 oracle, and what must hold for all of them."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_server.aggregation import Spool, Strategy, advance, build_strategy, moving_average, start
from emr_fl_server.aggregation.adaptive import Adaptive
from emr_fl_server.aggregation.fedavg import FedAvg
from emr_fl_server.aggregation.fedavgm import FedAvgM
from emr_fl_server.aggregation.scaffold import Scaffold
from emr_fl_shared.config import settings_from
from emr_fl_shared.errors import FederationError
from emr_fl_shared.payload import CONTROL, Form, beside, pack_tensors

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES: dict[str, tuple[int, ...]] = {
    "encoder": (6, 4),
    "head.bias": (5,),
    "head.weight": (5, 4),
    "scalar": (),
}
HEAD = ("head.weight", "head.bias")
SITES = ["甲医院", "hospital-b", "hospital-c"]
WEIGHTS = dict(zip(SITES, (300.0, 1000.0, 50.0), strict=True))
BETA1, BETA2, TAU, RATE = 0.9, 0.99, 1e-3, 0.02
STRATEGIES: dict[str, Strategy] = {
    "fedavg": FedAvg(),
    "fedavgm": FedAvgM(0.7, 0.9),
    "fedadagrad": Adaptive("adagrad", RATE, 0.5, BETA2, TAU),
    "fedadam": Adaptive("adam", RATE, BETA1, BETA2, TAU),
    "fedyogi": Adaptive("yogi", RATE, BETA1, BETA2, TAU),
    "scaffold": Scaffold(0.7, 1.0),
}
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


def shapes_of(strategy: Strategy) -> dict[str, tuple[int, ...]]:
    return SHAPES | {beside(kind, name): shape for kind in strategy.sent for name, shape in SHAPES.items()}


def draw(shapes: Mapping[str, tuple[int, ...]], *seed: int, scale: float = 0.01) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def spooled(
    folder: Path, updates: Mapping[str, Mapping[str, Array]], form: Form = "fp32", order: tuple[str, ...] = ()
) -> Spool:
    spool = Spool(folder, {name: array.shape for name, array in next(iter(updates.values())).items()}, form)
    for site in order or tuple(updates):
        spool.accept(site, pack_tensors(updates[site], form).data, WEIGHTS[site])
    return spool


def one_step(strategy: Strategy, model: Array, mean: Array, kept: dict[str, Array], **sent: Array) -> Any:
    def f32(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {key: np.asarray(array, np.float32) for key, array in arrays.items()}

    return strategy.step(np.asarray(model, np.float32), np.asarray(mean, np.float32), f32(kept), f32(sent))


# --- by hand --------------------------------------------------------------------------------------------------------


def test_fedavgm_by_hand() -> None:
    # β = 1/2, η = 2: v = [4], w = 10 + 8; then v = 2 + 1 = 3, w = 18 + 6
    strategy = FedAvgM(2.0, 0.5)
    model, kept = one_step(strategy, np.array([10.0]), np.array([4.0]), {"momentum": np.zeros(1)})
    assert (float(model[0]), float(kept["momentum"][0])) == (18.0, 4.0)
    model, kept = one_step(strategy, model, np.array([1.0]), kept)
    assert (float(model[0]), float(kept["momentum"][0])) == (24.0, 3.0)


@pytest.mark.parametrize(
    ("rule", "seconds", "steps"),
    [
        # Δ_1 = 4 · ½ = 2, Δ_2 = ½ · 2 + ½ · 4 = 3; τ = 1, v_0 = τ² = 1, β₂ = ¾, η = 6
        # Adagrad: v_1 = 1 + 4, v_2 = 5 + 9
        pytest.param("adagrad", (5.0, 14.0), (6 * 2 / (5**0.5 + 1), 6 * 3 / (14**0.5 + 1)), id="adagrad"),
        # Adam: v_1 = ¾ + ¼ · 4, v_2 = ¾ · 1.75 + ¼ · 9
        pytest.param("adam", (1.75, 3.5625), (6 * 2 / (1.75**0.5 + 1), 6 * 3 / (3.5625**0.5 + 1)), id="adam"),
        # Yogi: v_1 = 1 − ¼ · 4 · sign(1 − 4) = 2, v_2 = 2 + ¼ · 9
        pytest.param("yogi", (2.0, 4.25), (6 * 2 / (2**0.5 + 1), 6 * 3 / (4.25**0.5 + 1)), id="yogi"),
    ],
)
def test_adaptive_by_hand(rule: Any, seconds: tuple[float, float], steps: tuple[float, float]) -> None:
    strategy = Adaptive(rule, 6.0, 0.5, 0.75, 1.0)
    model = np.array([10.0])
    kept: dict[str, Array] = {kind: strategy.start(kind, np.zeros(1, np.float32)) for kind in strategy.kinds}
    for momentum, second, step in zip((2.0, 3.0), seconds, steps, strict=True):
        before = float(model[0])
        model, kept = one_step(strategy, model, np.array([4.0]), kept)
        assert float(kept["momentum"][0]) == momentum
        assert float(kept["second_moment"][0]) == second
        assert float(model[0]) - before == pytest.approx(step, rel=1e-6)


def test_yogi_comes_down_slowly_and_adam_at_once() -> None:
    """A small difference after large ones: v − (1 − β₂) Δ² against β₂ v."""
    kept = {"momentum": np.zeros(1), "second_moment": np.array([100.0])}
    for rule, expected in (("yogi", 100 - 0.25 * 4), ("adam", 75 + 0.25 * 4)):
        _, after = one_step(Adaptive(rule, 1.0, 0.0, 0.75, 1.0), np.zeros(1), np.array([2.0]), kept)  # type: ignore[arg-type]
        assert float(after["second_moment"][0]) == expected


@pytest.mark.parametrize(("participation", "control"), [(1.0, 8.0), (0.5, 5.0), (0.25, 3.5)])
def test_scaffold_by_hand(participation: float, control: float) -> None:
    # c = 2, mean of c_i⁺ = 8: all sites 8; half of them 2 + ½ (8 − 2)
    model, kept = one_step(
        Scaffold(2.0, participation),
        np.ones(1),
        np.array([3.0]),
        {"control": np.array([2.0])},
        control=np.array([8.0]),
    )
    assert (float(model[0]), float(kept["control"][0])) == (7.0, control)


# --- the slow oracle ------------------------------------------------------------------------------------------------


def oracle(name: str, model: Array, means: list[Array], controls: list[Array]) -> tuple[Array, Array]:
    """All rounds in float64, written down from the papers; the model and the last kind that is kept."""
    w = model.astype(np.float64).reshape(-1)
    m, v, c = np.zeros(w.size), np.full(w.size, TAU**2), np.zeros(w.size)
    for mean, control in zip(
        [np.reshape(x, -1) for x in means], [np.reshape(x, -1) for x in controls], strict=True
    ):
        if name == "fedavg":
            w = w + mean
        elif name == "fedavgm":
            m = 0.9 * m + mean
            w = w + 0.7 * m
        elif name == "scaffold":
            w, c = w + 0.7 * mean, c + 1.0 * (control - c)
        else:
            beta1 = 0.5 if name == "fedadagrad" else BETA1
            m = beta1 * m + (1 - beta1) * mean
            for index in np.ndindex(v.shape):
                square = m[index] ** 2
                if name == "fedadagrad":
                    v[index] += square
                elif name == "fedadam":
                    v[index] = BETA2 * v[index] + (1 - BETA2) * square
                elif v[index] < square:
                    v[index] += (1 - BETA2) * square
                elif v[index] > square:
                    v[index] -= (1 - BETA2) * square
            w = w + RATE * m / (np.sqrt(v) + TAU)
    last = {"fedavg": w, "fedavgm": m, "scaffold": c}.get(name, v)
    return w.reshape(model.shape), last.reshape(model.shape)


@pytest.mark.parametrize("name", STRATEGIES)
def test_six_rounds_agree_with_the_oracle(tmp_path: Path, name: str) -> None:
    strategy, total = STRATEGIES[name], sum(WEIGHTS.values())
    first = model = draw(SHAPES, 1, scale=0.05)
    kept = start(strategy, model)
    history: list[dict[str, Array]] = []
    for number in range(6):
        updates = {site: draw(shapes_of(strategy), number, i) for i, site in enumerate(SITES)}
        spool = spooled(tmp_path / str(number), updates)
        history.append(
            {
                key: sum(WEIGHTS[s] / total * updates[s][key].astype(np.float64) for s in SITES)
                for key in shapes_of(strategy)
            }
        )
        model, kept = advance(strategy, model, kept, spool.updates)
    for key in SHAPES:
        means = [entry[key] for entry in history]
        controls = [entry.get(beside(CONTROL, key), entry[key]) for entry in history]
        expected, last = oracle(name, first[key], means, controls)
        assert model[key].dtype == np.float32 and model[key].shape == SHAPES[key]
        np.testing.assert_allclose(model[key], expected, rtol=2e-5, atol=1e-6)
        if strategy.kinds:
            np.testing.assert_allclose(kept[strategy.kinds[-1]][key], last, rtol=1e-4, atol=1e-7)


# --- what holds for all ---------------------------------------------------------------------------------------------


def bits(tensors: Mapping[str, Array]) -> bytes:
    return b"".join(tensors[name].tobytes() for name in sorted(tensors))


@every_strategy
def test_order_of_arrival_changes_no_bit(tmp_path: Path, strategy: Strategy) -> None:
    model = draw(SHAPES, 1)
    updates = {site: draw(shapes_of(strategy), 2, i) for i, site in enumerate(SITES)}
    results = set()
    for index, order in enumerate(itertools.permutations(SITES)):
        spool = spooled(tmp_path / str(index), updates, order=order)
        after, kept = advance(strategy, model, start(strategy, model), spool.updates)
        results.add(bits(after) + b"".join(bits(kept[kind]) for kind in sorted(kept)))
    assert len(results) == 1


@every_strategy
def test_what_a_round_started_from_stays_as_it_was(tmp_path: Path, strategy: Strategy) -> None:
    """A round that fails after its mean is run again from the same state."""
    model = draw(SHAPES, 1)
    kept = {kind: draw(SHAPES, 5, scale=1.0) for kind in strategy.kinds}
    kept = {kind: {name: np.abs(array) for name, array in arrays.items()} for kind, arrays in kept.items()}
    before = bits(model), {kind: bits(arrays) for kind, arrays in kept.items()}
    spool = spooled(tmp_path, {site: draw(shapes_of(strategy), 2, i) for i, site in enumerate(SITES)})
    masks = {site: np.array([True, False, True, True, False]) for site in SITES}
    advance(strategy, model, kept, spool.updates, row_masks=masks, row_tensors=HEAD)
    assert before == (bits(model), {kind: bits(arrays) for kind, arrays in kept.items()})


@every_strategy
def test_label_rows_are_averaged_over_their_sites_and_rows_of_nobody_stay(
    tmp_path: Path, strategy: Strategy
) -> None:
    model = draw(SHAPES, 1)
    kept = {kind: {name: np.abs(array) for name, array in draw(SHAPES, 5).items()} for kind in strategy.kinds}
    updates = {site: draw(shapes_of(strategy), 2, i) for i, site in enumerate(SITES)}
    masks = {site: np.array([True, True, False, True, False]) for site in SITES}
    masks["甲医院"][1] = False
    masks["hospital-b"][3] = masks["hospital-c"][3] = False
    spool = spooled(tmp_path / "all", updates)
    after, states = advance(strategy, model, kept, spool.updates, row_masks=masks, row_tensors=HEAD)
    # the same rows alone, from the sites that hold them
    alone: dict[int, tuple[Any, Any]] = {}
    for row, holders in ((0, SITES), (1, SITES[1:]), (3, SITES[:1])):
        part = spooled(tmp_path / str(row), {site: updates[site] for site in holders})
        alone[row] = advance(strategy, model, kept, part.updates)
    whole = advance(strategy, model, kept, spool.updates)
    for name in HEAD:
        for row in (2, 4):
            np.testing.assert_array_equal(after[name][row], model[name][row])
        for row, (expected, expected_states) in alone.items():
            np.testing.assert_allclose(after[name][row], expected[name][row], rtol=1e-5, atol=1e-8)
            for kind in strategy.kinds:
                np.testing.assert_allclose(
                    states[kind][name][row], expected_states[kind][name][row], rtol=1e-4, atol=1e-9
                )
        for kind in strategy.kinds:
            for row in (2, 4):
                np.testing.assert_array_equal(states[kind][name][row], kept[kind][name][row])
    for name in ("encoder", "scalar"):
        np.testing.assert_array_equal(after[name], whole[0][name])


def test_momentum_would_move_a_row_that_nobody_holds() -> None:
    """Or the test above would be empty."""
    for name in ("fedavgm", "fedadam", "fedyogi", "fedadagrad"):
        kept = {kind: np.ones(1) for kind in STRATEGIES[name].kinds}
        assert float(one_step(STRATEGIES[name], np.zeros(1), np.zeros(1), kept)[0][0]) != 0.0


LIMITS: dict[str, Strategy] = {
    "fedavgm without momentum": FedAvgM(1.0, 0.0),
    # v stays τ²: η Δ / (τ + τ) = Δ
    "fedadam that does not adapt": Adaptive("adam", 2.0, 0.0, 1.0, 1.0),
    "fedyogi that does not adapt": Adaptive("yogi", 2.0, 0.0, 1.0, 1.0),
    "scaffold": Scaffold(1.0, 1.0),
}


@pytest.mark.parametrize("name", LIMITS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-4, 10.0), count=st.integers(1, 3))
def test_at_its_limit_every_strategy_is_fedavg(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, scale: float, count: int
) -> None:
    folder, strategy = tmp_path_factory.mktemp("limit"), LIMITS[name]
    model = draw(SHAPES, seed, scale=1.0)
    expected = model
    kept = start(strategy, model)
    for number in range(3):
        updates = {
            s: draw(shapes_of(strategy), seed, number, i, scale=scale) for i, s in enumerate(SITES[:count])
        }
        plain = {site: {key: update[key] for key in SHAPES} for site, update in updates.items()}
        model, kept = advance(strategy, model, kept, spooled(folder / f"a{number}", updates).updates)
        expected, _ = advance(FedAvg(), expected, {}, spooled(folder / f"b{number}", plain).updates)
    for key in SHAPES:
        np.testing.assert_allclose(model[key], expected[key], rtol=1e-5, atol=1e-5 * max(1.0, scale))
        if name in {"scaffold", "fedavgm without momentum"}:
            np.testing.assert_array_equal(model[key], expected[key])


def test_fedavg_of_one_site_is_its_model(tmp_path: Path) -> None:
    model, update = draw(SHAPES, 1), draw(SHAPES, 2)
    after, kept = advance(FedAvg(), model, {}, spooled(tmp_path, {"hospital-b": update}).updates)
    assert not kept
    for name in SHAPES:
        np.testing.assert_array_equal(after[name], update[name] + model[name])


@every_strategy
def test_memory_does_not_grow_with_sites(tmp_path: Path, strategy: Strategy) -> None:
    shapes = {f"layer{i}": (256, 256) for i in range(4)}  # 256 KiB a tensor, 1 MiB a model
    sent = shapes | {beside(kind, name): shape for kind in strategy.sent for name, shape in shapes.items()}
    model = draw(shapes, 1)
    kept = start(strategy, model)
    peaks = {}
    for count in (2, 8):
        spool = Spool(tmp_path / str(count), sent, "fp32")
        for index in range(count):
            spool.accept(f"s{index}", pack_tensors(draw(sent, index)).data, 1.0)
        tracemalloc.start()
        advance(strategy, model, kept, spool.updates)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[8] < 1.1 * peaks[2]
    assert peaks[8] < (1 + len(strategy.kinds)) * 2**20 + 7 * 256 * 1024


@every_strategy
@pytest.mark.parametrize("form", ["int8", "bf16"])
def test_rounding_with_error_feedback_ends_where_fp32_does(
    tmp_path: Path, strategy: Strategy, form: Form
) -> None:
    """Without the residual a row's small weights would be lost round after round: the same difference, often."""
    updates = {site: draw(shapes_of(strategy), 2, i) for i, site in enumerate(SITES)}
    models: dict[str, dict[str, Array]] = {}
    for way in ("exact", "with", "without"):
        model = draw(SHAPES, 1)
        kept = start(strategy, model)
        residuals: dict[str, dict[str, Array]] = {}
        for number in range(8):
            spool = Spool(
                tmp_path / way / str(number), shapes_of(strategy), "fp32" if way == "exact" else form
            )
            for site in SITES:
                residual = residuals.get(site) if way == "with" else None
                packed = pack_tensors(updates[site], spool.form, residual=residual)
                residuals[site] = packed.residual
                spool.accept(site, packed.data, WEIGHTS[site])
            model, kept = advance(strategy, model, kept, spool.updates)
        models[way] = model
    moved = sum(float(np.abs(models["exact"][key] - draw(SHAPES, 1)[key]).sum()) for key in SHAPES)
    off = {
        way: sum(float(np.abs(models[way][key] - models["exact"][key]).sum()) for key in SHAPES)
        for way in ("with", "without")
    }
    assert off["with"] < 0.02 * moved
    assert off["with"] < off["without"]


@every_strategy
def test_a_result_that_overflows_is_refused(tmp_path: Path, strategy: Strategy) -> None:
    largest = float(np.finfo(np.float32).max)
    model = {"w": np.full(2, largest, np.float32)}
    shapes = {"w": (2,)} | {beside(kind, "w"): (2,) for kind in strategy.sent}
    update = {name: np.full(shape, largest, np.float32) for name, shape in shapes.items()}
    spool = spooled(tmp_path, {"hospital-b": update})
    with pytest.raises(FederationError, match="overflows"):
        advance(strategy, model, start(strategy, model), spool.updates)


@every_strategy
def test_updates_of_another_model_are_refused(tmp_path: Path, strategy: Strategy) -> None:
    model = draw(SHAPES, 1)
    spool = spooled(tmp_path, {"hospital-b": draw({**shapes_of(strategy), "more": (2,)}, 2)})
    with pytest.raises(FederationError, match="another model"):
        advance(strategy, model, start(strategy, model), spool.updates)


# --- the average ----------------------------------------------------------------------------------------------------


def test_moving_average_by_hand() -> None:
    # d = ½: a_1 = 4; a_2 = (½ · 4 + 1 · 10) / 1.5 = 8; a_3 = (¼ · 4 + ½ · 10 + 1 · 22) / 1.75 = 16
    average: dict[str, Array] | None = None
    for number, (model, expected) in enumerate([(4.0, 4.0), (10.0, 8.0), (22.0, 16.0)], start=1):
        average = moving_average(average, {"w": np.array([model], np.float32)}, decay=0.5, rounds=number)
        assert float(average["w"][0]) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12),
    st.floats(0.0, 0.99),
)
def test_moving_average_agrees_with_the_sum(values: list[float], decay: float) -> None:
    average: dict[str, Array] | None = None
    for number, value in enumerate(values, start=1):
        model = {"w": np.full((), value, np.float32)}
        average = moving_average(average, model, decay=decay, rounds=number)
        assert average["w"] is not model["w"]
    weights = [decay ** (len(values) - s) for s in range(1, len(values) + 1)]
    expected = np.dot(weights, values) / np.sum(weights)
    assert average is not None and average["w"].dtype == np.float32
    np.testing.assert_allclose(float(average["w"]), expected, rtol=1e-4, atol=1e-3)


# --- the setting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, FedAvg()),
        ({"strategy": "fedprox"}, FedAvg()),
        ({"strategy": "fedavgm", "fedavgm": {"momentum": 0.3, "learning_rate": 2.0}}, FedAvgM(2.0, 0.3)),
        (
            {"strategy": "fedadam", "adaptive": {"learning_rate": 0.5, "beta2": 0.5, "tau": 0.1}},
            Adaptive("adam", 0.5, 0.9, 0.5, 0.1),
        ),
        ({"strategy": "fedyogi", "adaptive": {"beta1": 0.0}}, Adaptive("yogi", 0.01, 0.0, 0.99, 1e-3)),
        ({"strategy": "fedadagrad"}, Adaptive("adagrad", 0.01, 0.0, 0.99, 1e-3)),
        ({"strategy": "scaffold"}, Scaffold(1.0, 0.5)),
    ],
    ids=lambda value: str(value.get("strategy", "default")) if isinstance(value, dict) else "",
)
def test_the_setting_chooses(given_: dict[str, Any], expected: Strategy) -> None:
    resolved = settings_from({"aggregation": given_}, where="test").resolved()
    assert build_strategy(resolved.aggregation, participation=0.5) == expected
