"""Messages: strict parsing, limits, no echo of values."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, RecordDict

from emr_fl_shared import wire
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.errors import FederationError
from emr_fl_shared.wire import DescribeRequest, Failure, SiteScores, TrainReply, pack, unpack, unpack_reply

REPLY = TrainReply(
    site="a",
    round=1,
    examples=10,
    validation_examples=2,
    steps=3,
    seconds=1.0,
    loss=0.5,
    received=SiteScores(n=2, macro_f1=0.5, micro_f1=0.5),
    single_label=False,
    payload="fp32",
    device="cpu",
    precision="fp32",
    peak_rss_mb=1.0,
)


def test_round_trip() -> None:
    assert unpack(pack(REPLY), TrainReply) == REPLY
    assert from_records(to_records("{}", b"abc")) == ("{}", b"abc")
    assert from_records(to_records("{}")) == ("{}", None)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"protocol": 2, "run": "r"}', "protocol"),
        ('{"run": "r", "extra": "李四"}', "extra"),
        ('{"run": ""}', "run"),
        ("not json", ""),
        ("[]", ""),
    ],
)
def test_refused_with_the_place_but_not_the_value(text: str, place: str) -> None:
    with pytest.raises(FederationError) as caught:
        unpack(text, DescribeRequest)
    assert place in str(caught.value)
    assert "李四" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"examples": 0}, {"round": 0}, {"seconds": -1}, {"loss": float("nan")}, {"site": "x" * 200}]
)
def test_bounds_of_a_train_reply(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TrainReply.model_validate({**REPLY.model_dump(), **change})


def test_body_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 100)
    with pytest.raises(FederationError, match="too large"):
        unpack(pack(DescribeRequest(run="r" * 100)), DescribeRequest)


def test_a_failure_stands_in_for_any_reply() -> None:
    failure = Failure(site="a", cause="policy", reason="no")
    assert unpack_reply(pack(failure), TrainReply) == failure
    assert unpack_reply(pack(REPLY), TrainReply) == REPLY


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"body": ConfigRecord({"json": 1})}),
        RecordDict({"body": ConfigRecord({"json": "{}"}), "more": ConfigRecord({"x": 1})}),
    ],
)
def test_other_records_are_refused(records: RecordDict) -> None:
    with pytest.raises(FederationError, match="malformed"):
        from_records(records)
