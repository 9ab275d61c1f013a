"""One round over an in-memory grid with real replies: which answers make a round, and who is still waited for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from emr_fl_server import asking
from emr_fl_server.asking import ABSENCE_SECONDS
from emr_fl_server.evaluation.evaluator import Evaluator, RoundScores
from emr_fl_server.federation import Federation
from emr_fl_server.roster import Roster
from emr_fl_server.rounds import run_round
from emr_fl_shared.config import settings_from
from emr_fl_shared.metrics import Decision
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.wire import DescribeReply, Failure, TrainReply, pack
from memory_grid import Clock, MemoryGrid, Node, Say


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
    def evaluator(_: object) -> Evaluator:
        scores = RoundScores(Decision(), {"macro_f1": 0.5}, {"standard": {"macro_f1": 0.5}})
        encoder = SimpleNamespace(model=torch.nn.Linear(2, 2))
        return cast(Evaluator, SimpleNamespace(encoder=encoder, score=lambda *_, **__: scores))

    settings = settings_from(
        {
            "federation": {"min_sites": 2},
            "labels": {"taxonomy": "column"},
            "aggregation": {"label_rows": "all"},
        }
    )
    made = Federation(settings.resolved(), tmp_path, evaluator, lambda: ["呼吸", "消化"])
    made.agree({})
    return made


def described(name: str) -> Say:
    return Say(pack(DescribeReply(site=name, emr_fl="0", python="3", torch="2")))


def trained(name: str, *, like: dict[str, np.ndarray], after: float = 0.0) -> Say:
    reply = TrainReply(
        site=name,
        round=1,
        examples=10,
        validation_examples=1,
        steps=1,
        seconds=1.0,
        loss=0.5,
        single_label=True,
        payload="fp32",
        device="cpu",
        precision="fp32",
        peak_rss_mb=1.0,
    )
    update = pack_tensors({key: np.ones_like(tensor) for key, tensor in like.items()}).data
    return Say(pack(reply), update, after)


def refusal(cause: str) -> Say:
    return Say(pack(Failure.model_validate({"site": "a", "cause": cause, "reason": "not here"})))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refusal("policy"), id="its policy refused"),
        pytest.param(refusal("data"), id="its data failed"),
        pytest.param(Say("{}"), id="no reply at all"),
        pytest.param("no update", id="an update that does not fit"),
    ],
)
def test_only_updates_that_count_end_the_waiting_for_sites_that_are_gone(
    clock: Clock, federation: Federation, answer: Say | str
) -> None:
    state = federation.start()
    if answer == "no update":
        answer = trained("a", like={"other": np.zeros(3, np.float32)})
    assert isinstance(answer, Say)
    late = Node("c", [described("c"), trained("c", like=state.tensors, after=5.5 * ABSENCE_SECONDS)])
    grid = MemoryGrid(
        clock,
        {
            2: Node("a", [described("a"), answer]),
            3: Node("b", [described("b"), trained("b", like=state.tensors)]),
            4: late,
        },
    )
    clock.after(2, lambda: setattr(late, "status", "offline"))
    clock.after(5 * ABSENCE_SECONDS, lambda: setattr(late, "status", "online"))
    roster = Roster(grid, federation, Silent())
    after = run_round(roster, federation, Silent(), state)
    assert after.round == 1
    assert after.history[-1]["sites"] == ["b", "c"]
    assert list(after.history[-1]["refused"]) == ["a"]
    for name, tensor in state.tensors.items():
        np.testing.assert_allclose(after.tensors[name], tensor + 1, rtol=1e-6)


def test_sites_that_are_gone_are_given_up_once_enough_updates_count(
    clock: Clock, federation: Federation
) -> None:
    state = federation.start()
    gone = Node("c", [described("c"), None])
    nodes = {
        2: Node("a", [described("a"), trained("a", like=state.tensors)]),
        3: Node("b", [described("b"), trained("b", like=state.tensors)]),
        4: gone,
    }
    clock.after(2, lambda: setattr(gone, "status", "offline"))
    grid = MemoryGrid(clock, nodes)
    after = run_round(Roster(grid, federation, Silent()), federation, Silent(), state)
    assert after.history[-1]["sites"] == ["a", "b"]
    assert ABSENCE_SECONDS <= clock.now - 1000 <= ABSENCE_SECONDS + 30
