"""One round over an in-memory grid with real replies: which answers make a round, and who is still waited for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from emr_fl_deploy.cli import run
from emr_fl_server import asking
from emr_fl_server.asking import ABSENCE_SECONDS
from emr_fl_server.evaluation.evaluator import Evaluator, RoundScores
from emr_fl_server.federation import Federation
from emr_fl_server.roster import Roster
from emr_fl_server.rounds import TooFewUpdates, run_round
from emr_fl_shared.chain import Chain, read_chain
from emr_fl_shared.config import settings_from
from emr_fl_shared.errors import EmrFlError, PolicyError
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


@pytest.mark.parametrize(
    ("cause", "error", "code"),
    [("policy", PolicyError, 3), ("later", TooFewUpdates, 1), ("data", TooFewUpdates, 1)],
)
def test_only_a_policy_that_refuses_for_good_ends_the_run_as_such(
    clock: Clock, federation: Federation, cause: str, error: type[EmrFlError], code: int
) -> None:
    nodes = {number: Node(name, [described(name), refusal(cause)]) for number, name in ((2, "a"), (3, "b"))}
    with pytest.raises(error) as caught:
        run_round(
            Roster(MemoryGrid(clock, nodes), federation, Silent()), federation, Silent(), federation.start()
        )
    assert caught.value.exit_code == code
    entries = read_chain(federation.folder / "audit" / "server.jsonl").entries
    assert [(e["event"], e["site"], e["round"], e["cause"], e["reason"]) for e in entries] == [
        ("refused", name, 1, cause, "not here") for name in ("a", "b")
    ]


def test_the_servers_log_names_the_same_bytes_as_the_sites(
    clock: Clock, federation: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = federation.start()
    replies = {name: trained(name, like=state.tensors) for name in ("a", "b")}
    grid = MemoryGrid(
        clock, {n: Node(name, [described(name), say]) for n, (name, say) in enumerate(replies.items(), 2)}
    )
    run_round(Roster(grid, federation, Silent()), federation, Silent(), state)
    log = federation.folder / "audit" / "server.jsonl"
    found = read_chain(log)
    assert found.problems == [] and found.key == "" and found.head.log == federation.run
    assert {entry["site"]: entry["sha256"] for entry in found.entries} == {
        name: hashlib.sha256(say.body.encode() + (say.payload or b"")).hexdigest()
        for name, say in replies.items()
    }
    assert run(["server", "audit", str(federation.folder), "--verify", "--lang", "en"]) == 0
    assert "nobody signs it" in capsys.readouterr().out
    log.write_bytes(log.read_bytes().replace(b'"accepted"', b'"refused" ', 1))
    assert run(["server", "audit", str(federation.folder), "--verify", "--lang", "en"]) == 3
    with pytest.raises(PolicyError, match="audit log"):
        Chain(log, federation.run, word="event").entries()
