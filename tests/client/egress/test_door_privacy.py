"""What a site's policy asks of differential privacy, before any work and of every reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from emr_fl_client.egress import Door
from emr_fl_shared.app import from_records
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.wire import (
    DescribeReply,
    EvaluateReply,
    Failure,
    SiteScores,
    TrainReply,
    TrainRequest,
    unpack,
)


@pytest.fixture
def question() -> Message:
    """What a reply answers."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    message = Message(RecordDict(), 2, "train.round")
    message.metadata.__dict__["_message_id"] = "1"
    return message


def asked(**privacy: Any) -> TrainRequest:
    return TrainRequest(
        run="r",
        round=1,
        rounds=3,
        seed=7,
        model={},
        taxonomy="",
        training={},
        decision={},
        privacy={"enabled": True, "target_epsilon": 3.0, "delta": 1e-5, **privacy} if privacy else {},
    )


def door(path: Path, **policy: Any) -> Door:
    return Door("a", Policy(**policy), path / "egress.jsonl")


@pytest.mark.parametrize(
    ("policy", "request_", "place"),
    [
        ({"require_dp": True}, asked(), "policy.require_dp"),
        ({"require_dp": True}, asked(enabled=False), "policy.require_dp"),
        ({"max_epsilon": 2.9}, asked(unit="record"), "policy.max_epsilon"),
        ({"max_delta": 1e-6}, asked(unit="record"), "policy.max_delta"),
    ],
)
def test_refused_before_any_work(
    tmp_path: Path, policy: dict[str, Any], request_: TrainRequest, place: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        door(tmp_path, **policy).check(request_)
    assert refused.value.where == place


@pytest.mark.parametrize(
    ("policy", "request_"),
    [
        ({}, asked()),
        ({"max_epsilon": 1.0}, asked()),
        ({"require_dp": True, "max_epsilon": 3.0, "max_delta": 1e-5}, asked(unit="patient")),
    ],
)
def test_let_through(tmp_path: Path, policy: dict[str, Any], request_: TrainRequest) -> None:
    door(tmp_path, **policy).check(request_)


def test_where_it_is_required_no_score_no_loss_and_no_label_leaves(tmp_path: Path, question: Message) -> None:
    strict = door(tmp_path, require_dp=True)
    scores = SiteScores(n=100, macro_f1=0.5, micro_f1=0.5)
    trained = TrainReply(
        site="a",
        round=1,
        examples=100,
        validation_examples=100,
        steps=3,
        seconds=1.0,
        loss=0.5,
        received=scores,
        single_label=False,
        epsilon=1.0,
        payload="fp32",
        device="cpu",
        precision="fp32",
        peak_rss_mb=1.0,
    )
    update = pack_tensors({"w": np.ones(3, np.float32)}).data
    body, _ = from_records(strict.trained(question, trained, update, {"w": (3,)}).content)
    sent = unpack(body, TrainReply)
    assert (sent.loss, sent.received, sent.epsilon) == (None, None, 1.0)
    body, _ = from_records(
        strict.evaluated(question, EvaluateReply(site="a", round=1, scores=scores)).content
    )
    assert unpack(body, EvaluateReply).scores is None
    described = DescribeReply(site="a", labels=["呼吸"], emr_fl="0", python="3", torch="2")
    body, _ = from_records(strict.describe(question, described, {"呼吸": 100}).content)
    assert unpack(body, DescribeReply).labels == []


def test_a_spent_budget_is_said_as_such(tmp_path: Path, question: Message) -> None:
    error = BudgetSpent("the privacy budget is spent", where="privacy.dp.target_epsilon", got="3.2")
    body, _ = from_records(door(tmp_path).failed(question, error).content)
    failure = unpack(body, Failure)
    assert (failure.cause, failure.reason) == ("budget", "the privacy budget is spent")
