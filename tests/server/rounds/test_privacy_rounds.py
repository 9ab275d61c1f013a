"""The round loop under differential privacy: what is asked, what counts, and how it ends when budgets are spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from emr_fl_server import asking
from emr_fl_server.evaluation.evaluator import Evaluator, RoundScores
from emr_fl_server.federation import Federation
from emr_fl_server.results import privacy_spent
from emr_fl_server.roster import Roster
from emr_fl_server.rounds import run_round, run_rounds
from emr_fl_shared.config import settings_from
from emr_fl_shared.config.settings import CentralPrivacy, DifferentialPrivacy, Privacy
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.metrics import Decision
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.wire import DescribeReply, Failure, TrainReply, pack
from memory_grid import Clock, MemoryGrid, Node, Say

DP = Privacy(dp=DifferentialPrivacy(enabled=True, target_epsilon=3.0, delta=1e-5))
CENTRAL = Privacy(central=CentralPrivacy(enabled=True, target_epsilon=3.0, clipping_norm=1.0))


class Silent:
    """An observer that has nothing to say."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    return clock


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    """Two sites at least, one weight and a bias; every round is as good as the last."""

    def evaluator(_: object) -> Evaluator:
        scores = RoundScores(Decision(), {"macro_f1": 0.5}, {"standard": {"macro_f1": 0.5}})
        encoder = SimpleNamespace(model=torch.nn.Linear(2, 2))
        return cast(Evaluator, SimpleNamespace(encoder=encoder, score=lambda *_, **__: scores))

    settings = settings_from({"aggregation": {"label_rows": "all", "weighting": "even"}})
    made = Federation(settings.resolved(), tmp_path, evaluator, lambda: [])
    made.agree({})
    return made


def described(name: str) -> Say:
    return Say(pack(DescribeReply(site=name, emr_fl="0", python="3", torch="2")))


def refusal(cause: str) -> Say:
    return Say(pack(Failure.model_validate({"site": "a", "cause": cause, "reason": "not here"})))


def trained(name: str, like: dict[str, np.ndarray], **changes: Any) -> Say:
    reply = TrainReply(
        site=name,
        round=1,
        examples=10,
        validation_examples=1,
        steps=1,
        seconds=1.0,
        single_label=False,
        payload="fp32",
        device="cpu",
        precision="fp32",
        peak_rss_mb=1.0,
    )
    update = pack_tensors({key: np.ones_like(tensor) for key, tensor in like.items()}).data
    return Say(pack(reply.model_copy(update=changes)), update)


def under(federation: Federation, privacy: Privacy) -> Federation:
    return replace(federation, settings=federation.settings.model_copy(update={"privacy": privacy}))


def private(name: str, like: dict[str, np.ndarray], **changes: Any) -> Say:
    return trained(name, like, **{"epsilon": 1.0, "delta": 1e-5, "unit": "record", **changes})


def test_the_wish_goes_with_the_request_and_nothing_where_it_is_off(federation: Federation) -> None:
    state = federation.start()
    assert federation.train_request(1, state).privacy == {}
    asked = under(federation, DP).train_request(1, state).privacy
    assert DifferentialPrivacy.model_validate(asked) == DP.dp


@pytest.mark.parametrize(
    "changes",
    [{"epsilon": None}, {"epsilon": 3.1}, {"delta": 1e-4}, {"unit": "patient"}, {"delta": None}],
)
def test_an_update_that_was_not_trained_as_asked_does_not_count(
    clock: Clock, federation: Federation, changes: dict[str, Any]
) -> None:
    asked = under(federation, DP)
    state = asked.start()
    nodes = {
        2: Node("a", [described("a"), private("a", state.tensors, **changes)]),
        3: Node("b", [described("b"), private("b", state.tensors)]),
        4: Node("c", [described("c"), private("c", state.tensors, epsilon=2.5)]),
    }
    after = run_round(Roster(MemoryGrid(clock, nodes), asked, Silent()), asked, Silent(), state)
    assert list(after.history[-1]["refused"]) == ["a"]
    spent = privacy_spent(asked, after)
    assert (spent["epsilon"], spent["delta"], spent["unit"], spent["accountant"]) == (
        2.5,
        1e-5,
        "record",
        "rdp",
    )
    assert type(after).from_json(after.to_json(), after.stored()).sites["c"]["epsilon"] == 2.5


def test_the_federation_goes_on_with_the_others(clock: Clock, federation: Federation) -> None:
    asked = under(federation, DP)
    state = asked.start()
    nodes = {
        2: Node("a", [described("a"), refusal("budget")]),
        3: Node("b", [described("b"), private("b", state.tensors)]),
        4: Node("c", [described("c"), private("c", state.tensors)]),
    }
    after = run_round(Roster(MemoryGrid(clock, nodes), asked, Silent()), asked, Silent(), state)
    assert after.history[-1]["sites"] == ["b", "c"]


class Told(Silent):
    def __init__(self) -> None:
        self.spent: list[int] = []

    def budget_spent(self, number: int, reason: str) -> None:
        self.spent.append(number)


def test_it_ends_with_what_is_there_when_budgets_are_spent(clock: Clock, federation: Federation) -> None:
    asked = under(federation, DP)
    state = asked.start()
    nodes = {
        site: Node(name, [described(name), private(name, state.tensors), refusal("budget")])
        for site, name in ((2, "a"), (3, "b"))
    }
    told = Told()
    after = run_rounds(Roster(MemoryGrid(clock, nodes), asked, told), asked, told)
    assert after.round == 1 and told.spent == [2]


@pytest.mark.parametrize(
    ("causes", "error"), [(("budget", "budget"), BudgetSpent), (("policy", "budget"), PolicyError)]
)
def test_before_the_first_round_it_is_an_error(
    clock: Clock, federation: Federation, causes: tuple[str, str], error: type[PolicyError]
) -> None:
    asked = under(federation, DP)
    nodes = {
        site: Node(name, [described(name), refusal(cause)])
        for site, name, cause in zip((2, 3), ("a", "b"), causes, strict=True)
    }
    with pytest.raises(PolicyError) as refused:
        run_rounds(Roster(MemoryGrid(clock, nodes), asked, Silent()), asked, Silent())
    assert type(refused.value) is error
    assert refused.value.exit_code == 3


def test_central_noise_is_counted_before_it_is_drawn(
    clock: Clock, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = under(federation, CENTRAL)
    state = asked.start()

    def one_round() -> Any:
        nodes = {
            site: Node(name, [described(name), trained(name, state.tensors)])
            for site, name in ((2, "a"), (3, "b"))
        }
        return run_round(Roster(MemoryGrid(clock, nodes), asked, Silent()), asked, Silent(), state)

    after = one_round()
    assert asked.central_budget is not None
    first = asked.central_budget.epsilon()
    assert privacy_spent(asked, after)["central"]["epsilon"] == first > 0
    assert privacy_spent(asked, after)["epsilon"] is None
    assert any((after.tensors[name] != state.tensors[name] + 1).any() for name in after.tensors)
    # the server dies before its checkpoint: the noise that was drawn is spent
    monkeypatch.setattr(Federation, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        one_round()
    assert asked.central_budget.epsilon() > first
