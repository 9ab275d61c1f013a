"""The door: deny by default, receipts first, nothing of a record in what leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from emr_fl_client.egress import Door
from emr_fl_shared.app import from_records
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.errors import DataError, EmrFlError, PolicyError, SettingsError, StorageError
from emr_fl_shared.labels import load_taxonomy
from emr_fl_shared.payload import CONTROL, beside, pack_tensors
from emr_fl_shared.preparation import prepare
from emr_fl_shared.wire import (
    DescribeReply,
    EvaluateReply,
    Failure,
    SiteScores,
    TrainReply,
    TrainRequest,
    unpack,
)
from train_reply import train_reply

SHAPES = {"w": (2, 3), "b": (3,)}


@pytest.fixture
def request_message() -> Message:
    message = Message(RecordDict(), 2, "train.round")
    message.metadata.__dict__["_message_id"] = "1"
    return message


@pytest.fixture(autouse=True)
def flower_identity() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


def update(**changes: np.ndarray) -> bytes:
    tensors = {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)}
    return pack_tensors({**tensors, **changes}).data


def test_an_update_leaves_with_rounded_scores_and_a_receipt(tmp_path: Path, request_message: Message) -> None:
    door = Door("a", Policy(), tmp_path / "egress.jsonl")
    message = door.trained(request_message, train_reply(), update(), SHAPES)
    body, payload = from_records(message.content)
    sent = unpack(body, TrainReply)
    assert payload == update()
    assert (sent.loss, sent.received) == (0.1235, SiteScores(n=9, macro_f1=0.1235, micro_f1=0.5))
    (receipt,) = [json.loads(line) for line in (tmp_path / "egress.jsonl").read_text().splitlines()]
    assert receipt["kind"] == "trained"
    assert receipt["payload_bytes"] == len(update())
    assert receipt["tensors"] == 2
    assert (tmp_path / "egress.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: update(extra=np.ones(1, np.float32)), id="another tensor"),
        pytest.param(lambda: update(b=np.ones(4, np.float32)), id="another shape"),
        pytest.param(lambda: update()[:-1], id="truncated"),
        pytest.param(lambda: b"raw text of a record", id="not tensors"),
    ],
)
def test_anything_but_an_update_of_the_received_model_is_refused(
    tmp_path: Path, request_message: Message, data: object
) -> None:
    assert callable(data)
    door = Door("a", Policy(), tmp_path / "egress.jsonl")
    with pytest.raises(PolicyError, match="does not match"):
        door.trained(request_message, train_reply(), data(), SHAPES)
    assert not (tmp_path / "egress.jsonl").exists()


def test_the_policy_limits_rounds(tmp_path: Path, request_message: Message) -> None:
    door = Door("a", Policy(max_rounds=3), tmp_path / "egress.jsonl")
    door.trained(request_message, train_reply(round=3), update(), SHAPES)
    with pytest.raises(PolicyError, match=r"policy\.max_rounds"):
        door.trained(request_message, train_reply(round=4), update(), SHAPES)


@pytest.mark.parametrize(("policy", "n"), [(Policy(smallest_count=10), 9), (Policy(share_scores=False), 500)])
def test_scores_over_few_records_or_unwanted_stay(
    tmp_path: Path, request_message: Message, policy: Policy, n: int
) -> None:
    scores = SiteScores(n=n, macro_f1=0.5, micro_f1=0.5)
    message = Door("a", policy, tmp_path / "r").evaluated(
        request_message, EvaluateReply(site="a", round=1, scores=scores)
    )
    assert unpack(from_records(message.content)[0], EvaluateReply).scores is None


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        pytest.param(Policy(), (None, None), id="by default nothing"),
        pytest.param(Policy(share_label_counts=True), ([5, 0, 0, 12], 9.5), id="small ones as 0"),
        pytest.param(Policy(share_label_counts=True, smallest_count=1), ([5, 4, 0, 12], 9.5), id="all"),
    ],
)
def test_label_counts_leave_where_the_policy_says_so(
    tmp_path: Path, request_message: Message, policy: Policy, sent: tuple[list[int] | None, float | None]
) -> None:
    door = Door("a", policy, tmp_path / "r")
    body = train_reply(label_counts=[5, 4, 0, 12], effective_labels=9.5)
    out = unpack(from_records(door.trained(request_message, body, update(), SHAPES).content)[0], TrainReply)
    assert (out.label_counts, out.effective_labels) == sent
    (receipt,) = [json.loads(line) for line in (tmp_path / "r").read_text().splitlines()]
    assert (
        ("label_counts" in receipt["fields"])
        == ("effective_labels" in receipt["fields"])
        == (sent[0] is not None)
    )


CONTROLLED = SHAPES | {beside(CONTROL, name): shape for name, shape in SHAPES.items()}


def with_control(**changes: np.ndarray) -> bytes:
    return update(
        **{beside(CONTROL, name): np.ones(shape, np.float32) for name, shape in SHAPES.items()}, **changes
    )


def test_a_control_variate_leaves_only_by_policy(tmp_path: Path, request_message: Message) -> None:
    closed = Door("a", Policy(), tmp_path / "closed")
    with pytest.raises(PolicyError, match="mean gradient") as caught:
        closed.trained(request_message, train_reply(), with_control(), CONTROLLED)
    assert caught.value.where == "policy.share_controls" and not (tmp_path / "closed").exists()
    door = Door("a", Policy(share_controls=True), tmp_path / "open")
    message = door.trained(request_message, train_reply(), with_control(), CONTROLLED)
    assert from_records(message.content)[1] == with_control()
    (receipt,) = [json.loads(line) for line in (tmp_path / "open").read_text().splitlines()]
    assert receipt["tensors"] == 4 and receipt["payload_bytes"] == len(with_control())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: update(), id="without it"),
        pytest.param(lambda: with_control(**{"other::w": np.ones((2, 3), np.float32)}), id="another kind"),
        pytest.param(
            lambda: update(
                **{"control::w": np.ones((3, 3), np.float32), "control::b": np.ones(3, np.float32)}
            ),
            id="shape",
        ),
    ],
)
def test_a_control_variate_of_another_form_is_refused(
    tmp_path: Path, request_message: Message, data: object
) -> None:
    assert callable(data)
    door = Door("a", Policy(share_controls=True), tmp_path / "r")
    with pytest.raises(PolicyError, match="does not match"):
        door.trained(request_message, train_reply(), data(), CONTROLLED)
    with pytest.raises(PolicyError, match="does not match"):
        door.trained(request_message, train_reply(), with_control(), SHAPES)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("asked", "policy", "where"),
    [
        pytest.param({"round": 4}, Policy(max_rounds=3), "policy.max_rounds", id="rounds"),
        pytest.param({"controls": True}, Policy(), "policy.share_controls", id="controls"),
        pytest.param({"effective_beta": 0.9}, Policy(), "policy.share_label_counts", id="weights"),
        pytest.param({"controls": True}, Policy(share_controls=True), None, id="controls allowed"),
        pytest.param({"effective_beta": 0.9}, Policy(share_label_counts=True), None, id="weights allowed"),
        pytest.param({"label_counts": []}, Policy(), None, id="counts are left out, not refused"),
    ],
)
def test_what_could_not_leave_is_refused_before_training(
    tmp_path: Path, asked: dict[str, object], policy: Policy, where: str | None
) -> None:
    fields: dict[str, object] = {"run": "r", "round": 1, "rounds": 9, "seed": 0, "taxonomy": ""}
    request = TrainRequest.model_validate({**fields, "model": {}, "training": {}, "decision": {}, **asked})
    door = Door("a", policy, tmp_path / "r")
    if where is None:
        door.check(request)
        return
    with pytest.raises(PolicyError) as caught:
        door.check(request)
    assert caught.value.where == where
    assert not (tmp_path / "r").exists()


def test_rare_label_names_stay(tmp_path: Path, request_message: Message) -> None:
    body = DescribeReply(site="a", labels=["common", "rare"], emr_fl="0", python="3", torch="2")
    message = Door("a", Policy(smallest_count=5), tmp_path / "r").describe(
        request_message, body, {"common": 5, "rare": 4}
    )
    assert unpack(from_records(message.content)[0], DescribeReply).labels == ["common"]


@pytest.mark.parametrize(
    ("error", "cause", "shown"),
    [
        (ValueError("患者张三，电话13800000000"), "internal", "ValueError"),
        (PolicyError("no"), "policy", "no"),
        (PolicyError("no", where="policy.max_rounds", got="4"), "policy", "policy.max_rounds: no"),
        (PolicyError("no", where="/data/张三.csv", got="13800000000"), "policy", "no"),
        (PolicyError("no", where="policy./data/张三.csv"), "policy", "no"),
        (DataError("no such file", where="张三.csv"), "data", "no such file"),
        (SettingsError([SettingsError("wrong", where="张三", got="x")]), "data", "wrong"),
    ],
)
def test_only_our_own_words_leave_with_a_failure(
    tmp_path: Path, request_message: Message, error: Exception, cause: str, shown: str
) -> None:
    message = Door("a", Policy(), tmp_path / "r").failed(request_message, error)
    failure = unpack(from_records(message.content)[0], Failure)
    assert (failure.cause, failure.reason) == (cause, shown)
    assert "张三" not in (tmp_path / "r").read_text()


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param(None, None, id="no file"),
        pytest.param(b"", None, id="empty"),
        pytest.param("王医生备注,内部编号\na,b\n".encode(), None, id="no text column"),
        pytest.param("主诉,内部编号\na,b\n".encode(), None, id="no label column"),
        pytest.param("主诉,内部编号\na,b\n".encode(), {"label": "内部诊断"}, id="a wrong column map"),
        pytest.param("主诉,内部编号\na,b\n".encode(), {"内部字段": "内部编号"}, id="an unknown field"),
        pytest.param("主诉,内部编号,诊断\n,b,\n".encode(), None, id="no usable row"),
        pytest.param("主诉,内部编号,诊断\n头痛,b,内部病\n".encode(), None, id="no label"),
        pytest.param(b"PK\x03\x04 \x00\x00", None, id="a spreadsheet"),
        pytest.param(
            "主诉,诊断\n头痛,x\n".encode() + "发热三天,肺炎\n".encode("gb18030"), None, id="encoding"
        ),
    ],
)
def test_no_path_and_no_header_of_the_site_leaves(
    tmp_path: Path, request_message: Message, content: bytes | None, columns: dict[str, str] | None
) -> None:
    export = tmp_path / "心内科-wang" / "内部-export.csv"
    export.parent.mkdir()
    if content is not None:
        export.write_bytes(content)
    with pytest.raises(EmrFlError) as raised:
        prepare(export, columns, load_taxonomy("outpatient-50"), key=b"k" * 32)
    message = Door("a", Policy(), tmp_path / "r").failed(request_message, raised.value)
    reason = unpack(from_records(message.content)[0], Failure).reason
    assert reason == raised.value.message
    for secret in (str(tmp_path), "心内科", "export", "内部", "王医生", "columns."):
        assert secret not in reason


def test_nothing_leaves_without_a_receipt(tmp_path: Path, request_message: Message) -> None:
    (tmp_path / "r").mkdir()  # a folder stands where the receipts should be written
    with pytest.raises(StorageError, match="nothing was sent"):
        Door("a", Policy(), tmp_path / "r").trained(request_message, train_reply(), update(), SHAPES)
