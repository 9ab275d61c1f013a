"""Every rule of a site's policy, each with what it lets out and what it keeps in; the clock is the test's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from pydantic import Field

from emr_fl_client.egress import Door, KillSwitch
from emr_fl_client.egress.rules import (
    NotNow,
    check_fields,
    check_norm,
    check_protection,
    check_request,
    check_time,
)
from emr_fl_client.egress.usage import Usage
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.chain import read_chain
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.wire import (
    DescribeReply,
    DescribeRequest,
    EvaluateReply,
    EvaluateRequest,
    Failure,
    SiteScores,
    TrainReply,
    TrainRequest,
    pack,
    unpack,
)
from train_reply import train_reply

MONDAY = datetime(2026, 11, 23, 12, 0).astimezone()
SHAPES = {"encoder.w": (2, 3), "classifier.b": (3,)}
NO_USE = Usage(())


class Clock:
    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(autouse=True)
def flower_identity() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


def asked(run: str = "r", number: int = 1) -> Message:
    message = Message(to_records(pack(training(run=run, round=number))), 2, "train.round")
    message.metadata.__dict__["_message_id"] = "1"
    return message


def training(**changes: Any) -> TrainRequest:
    fields: dict[str, Any] = {"run": "r", "round": 1, "rounds": 9, "seed": 0, "taxonomy": ""}
    return TrainRequest.model_validate({**fields, "model": {}, "training": {}, "decision": {}, **changes})


def evaluation(**changes: Any) -> EvaluateRequest:
    fields: dict[str, Any] = {"run": "r", "round": 1, "seed": 0, "taxonomy": "", "model": {}}
    return EvaluateRequest.model_validate({**fields, "training": {}, "decision": {}, **changes})


def update(value: float = 1.0) -> bytes:
    return pack_tensors({name: np.full(shape, value, np.float32) for name, shape in SHAPES.items()}).data


def door(folder: Path, clock: Clock | None = None, **rules: Any) -> Door:
    return Door("a", Policy(**rules), folder / "egress.jsonl", state=folder, clock=clock or Clock())


def sent(message: Message) -> TrainReply:
    return unpack(from_records(message.content)[0], TrainReply)


def kinds(folder: Path) -> list[str]:
    return [entry["kind"] for entry in read_chain(folder / "egress.jsonl").entries]


# --- what is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "request_", "rule"),
    [
        pytest.param({"messages": ["trained"]}, DescribeRequest(run="r"), "messages", id="describe"),
        pytest.param({"messages": ["trained"]}, evaluation(), "messages", id="evaluate"),
        pytest.param({"messages": ["described"]}, training(), "messages", id="train"),
        pytest.param({"max_rounds": 2}, training(round=3), "max_rounds", id="rounds"),
        pytest.param({"payloads": ["int8"]}, training(), "payloads", id="payload"),
        pytest.param({"require_dp": True}, training(), "require_dp", id="privacy"),
        pytest.param(
            {"require_secure_aggregation": True}, training(), "require_secure_aggregation", id="secure"
        ),
        pytest.param({"weekdays": ["tue"]}, training(), "weekdays", id="weekday"),
        pytest.param({"hours": "12:01-11:59"}, DescribeRequest(run="r"), "hours", id="hours"),
    ],
)
def test_what_could_not_leave_is_refused_before_any_work(
    rules: dict[str, Any], request_: Any, rule: str
) -> None:
    check_request(Policy(), request_, NO_USE, MONDAY)
    with pytest.raises(PolicyError) as caught:
        check_request(Policy(**rules), request_, NO_USE, MONDAY)
    assert caught.value.where == f"policy.{rule}" and caught.value.exit_code == 3


class Private(TrainRequest):
    privacy: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("wish", "masked", "rule"),
    [
        ({"enabled": True}, True, None),
        ({"target_epsilon": 3.0}, True, None),
        ({"enabled": False}, True, "require_dp"),
        ({}, True, "require_dp"),
        ({"enabled": True}, False, "require_secure_aggregation"),
    ],
)
def test_a_request_has_to_bring_the_protection_that_is_demanded(
    wish: dict[str, Any], masked: bool, rule: str | None
) -> None:
    asks = Private.model_validate({**training().model_dump(), "privacy": wish})
    check_protection(Policy(), asks)
    policy = Policy(require_dp=True, require_secure_aggregation=True)
    if rule is None:
        check_protection(policy, asks, masked=masked)
        return
    with pytest.raises(PolicyError) as caught:
        check_protection(policy, asks, masked=masked)
    assert caught.value.where == f"policy.{rule}"


def test_no_figure_and_no_label_leaves_a_site_that_demands_differential_privacy(tmp_path: Path) -> None:
    one = door(tmp_path, require_dp=True)
    body = sent(one.trained(asked(), train_reply(), update(), SHAPES))
    assert (body.loss, body.received) == (None, None)
    described = DescribeReply(site="a", labels=["x"], emr_fl="0", python="3", torch="2")
    answer = one.describe(asked(), described, {"x": 99})
    assert unpack(from_records(answer.content)[0], DescribeReply).labels == []


@pytest.mark.parametrize("ask", [training, evaluation])
def test_what_the_site_does_not_know_is_refused(ask: Any) -> None:
    check_request(
        Policy(), ask(model={"name": "tiny", "max_length": 32, "standardise": True}), NO_USE, MONDAY
    )
    with pytest.raises(PolicyError, match="does not know") as caught:
        check_request(Policy(), ask(model={"name": "tiny", "policy": {"max_rounds": 9}}), NO_USE, MONDAY)
    assert caught.value.got == "policy"


@pytest.mark.parametrize(
    ("hours", "at", "open_"),
    [
        ("08:00-17:30", "08:00", True),
        ("08:00-17:30", "17:29", True),
        ("08:00-17:30", "17:30", False),
        ("08:00-17:30", "07:59", False),
        ("22:00-06:00", "23:59", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("22:00-06:00", "21:59", False),
    ],
)
def test_hours(hours: str, at: str, open_: bool) -> None:
    now = MONDAY.replace(hour=int(at[:2]), minute=int(at[3:]))
    if open_:
        check_time(Policy(hours=hours), now)
        return
    with pytest.raises(NotNow) as caught:
        check_time(Policy(hours=hours), now)
    assert (caught.value.got, caught.value.expected) == (at, hours)


@pytest.mark.parametrize("day", range(7))
def test_weekdays(day: int) -> None:
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    now = MONDAY.replace(day=23 + day)
    check_time(Policy.model_validate({"weekdays": [names[day]]}), now)
    with pytest.raises(NotNow):
        check_time(Policy.model_validate({"weekdays": names[:day] + names[day + 1 :]}), now)


# --- what leaves -----------------------------------------------------------------------------------------------------------


def test_tensors_that_no_pattern_names_stay(tmp_path: Path) -> None:
    door(tmp_path, tensors=["encoder.*", "classifier.?"]).trained(asked(), train_reply(), update(), SHAPES)
    with pytest.raises(PolicyError) as caught:
        door(tmp_path, tensors=["encoder.*"]).trained(asked(), train_reply(), update(), SHAPES)
    assert (caught.value.where, caught.value.got) == ("policy.tensors", "classifier.b")
    assert kinds(tmp_path) == ["trained"]


@pytest.mark.parametrize(
    ("metrics", "loss", "received"),
    [
        ({"loss": 4, "macro_f1": 4, "micro_f1": 4}, 0.1235, SiteScores(n=9, macro_f1=0.1235, micro_f1=0.5)),
        ({"loss": 1, "macro_f1": 2, "micro_f1": 0}, 0.1, SiteScores(n=9, macro_f1=0.12, micro_f1=0.0)),
        ({"macro_f1": 2, "micro_f1": 2}, None, SiteScores(n=9, macro_f1=0.12, micro_f1=0.5)),
        ({"loss": 2, "macro_f1": 2}, 0.12, None),
        ({}, None, None),
    ],
)
def test_figures_leave_by_name_and_rounded(
    tmp_path: Path, metrics: dict[str, int], loss: float | None, received: SiteScores | None
) -> None:
    one = door(tmp_path, metrics=metrics)
    body = sent(one.trained(asked(), train_reply(), update(), SHAPES))
    assert (body.loss, body.received) == (loss, received)
    answer = one.evaluated(asked(), EvaluateReply(site="a", round=1, scores=train_reply().received))
    assert unpack(from_records(answer.content)[0], EvaluateReply).scores == received


def test_small_counts_stay(tmp_path: Path) -> None:
    one = door(tmp_path, smallest_count=10)
    assert sent(one.trained(asked(), train_reply(examples=10), update(), SHAPES)).validation_examples == 0
    with pytest.raises(PolicyError) as caught:
        one.trained(asked(), train_reply(examples=9), update(), SHAPES)
    assert caught.value.where == "policy.smallest_count"


def test_an_update_above_the_norm_stays(tmp_path: Path) -> None:
    norm = 9**0.5  # nine elements of 1
    door(tmp_path, max_update_norm=norm).trained(asked(), train_reply(), update(), SHAPES, scale=0.25)
    (entry,) = read_chain(tmp_path / "egress.jsonl").entries
    assert (entry["norm"], entry["scaled"]) == (3.0, 0.25)
    with pytest.raises(PolicyError) as caught:
        door(tmp_path, max_update_norm=norm * 0.999).trained(asked(), train_reply(), update(), SHAPES)
    assert caught.value.where == "policy.max_update_norm"
    with pytest.raises(PolicyError):
        check_norm(Policy(max_update_norm=1.0), float("nan"))


def test_bytes_of_a_round(tmp_path: Path) -> None:
    clock = Clock()
    size = sum(read(tmp_path / "probe", clock))
    one = door(tmp_path, clock, max_bytes_per_round=size + 10)
    first = one.trained(asked(), train_reply(), update(), SHAPES)
    again = one.trained(
        asked(), train_reply(), update(), SHAPES
    )  # the same bytes, asked for again: no more is known
    assert from_records(first.content) == from_records(again.content)
    with pytest.raises(PolicyError) as caught:
        one.trained(asked(), train_reply(), update(2.0), SHAPES)
    assert caught.value.where == "policy.max_bytes_per_round" and not isinstance(caught.value, NotNow)
    one.trained(asked(number=2), train_reply(round=2), update(2.0), SHAPES)


def read(folder: Path, clock: Clock) -> tuple[int, int]:
    """Bytes of body and payload of one update."""
    door(folder, clock).trained(asked(), train_reply(), update(), SHAPES)
    (entry,) = read_chain(folder / "egress.jsonl").entries
    return entry["body_bytes"], entry["payload_bytes"]


def test_bytes_of_a_day_are_counted_across_restarts_and_anew_after_midnight(tmp_path: Path) -> None:
    clock = Clock()
    size = sum(read(tmp_path / "probe", clock))
    rules = {"max_bytes_per_day": 2 * size + size // 2}
    for number in (1, 2):  # a new door each: the process was started anew
        door(tmp_path, clock, **rules).trained(
            asked(number=number), train_reply(round=number), update(), SHAPES
        )
    clock.now = MONDAY.replace(hour=23, minute=59)
    with pytest.raises(NotNow) as caught:
        door(tmp_path, clock, **rules).trained(asked(number=3), train_reply(round=3), update(), SHAPES)
    assert caught.value.where == "policy.max_bytes_per_day"
    clock.now = MONDAY.replace(day=24, hour=0, minute=0)
    door(tmp_path, clock, **rules).trained(asked(number=3), train_reply(round=3), update(), SHAPES)


def test_rounds_are_counted_by_the_site_not_by_the_number_it_is_told(tmp_path: Path) -> None:
    one = door(tmp_path, max_rounds=2)
    for question in ("q1", "q2", "q2"):
        one.check(training(), question)
        one.trained(asked(), train_reply(), update(), SHAPES, question=question)
    with pytest.raises(PolicyError) as caught:
        one.check(training(), "q3")
    assert caught.value.where == "policy.max_rounds"
    one.check(training(), "q2")  # asked again: the answer is the same
    one.check(training(run="another"), "q3")


def test_updates_are_counted_whatever_the_runs_are_called_until_a_policy_is_signed_anew(
    tmp_path: Path,
) -> None:
    for number in (1, 2):
        one = door(tmp_path, max_updates=2)
        one.check(training(run=f"run {number}"), f"q{number}")
        one.trained(asked(run=f"run {number}"), train_reply(), update(), SHAPES, question=f"q{number}")
    with pytest.raises(PolicyError) as caught:
        door(tmp_path, max_updates=2).check(training(run="run 3"), "q3")
    assert caught.value.where == "policy.max_updates"
    door(tmp_path, max_updates=2, version=2).check(training(run="run 3"), "q3")


def test_a_question_that_is_long_over_is_not_answered_again(tmp_path: Path) -> None:
    one = door(tmp_path)
    for number in range(1, 6):
        one.check(training(round=number), f"q{number}")
        one.trained(asked(number=number), train_reply(round=number), update(), SHAPES, question=f"q{number}")
    for number in (3, 4, 5):  # a coordinator that goes back to its checkpoints
        one.check(training(round=number), f"q{number}")
    with pytest.raises(PolicyError, match="answered before"):
        one.check(training(round=2), "q2")
    one.check(training(round=2), "another model in the same round")


def test_fields_that_no_policy_knows_stay() -> None:
    check_fields("evaluated", ["kind", "protocol", "site", "round", "scores"])
    with pytest.raises(PolicyError, match="no policy lets out") as caught:
        check_fields("evaluated", ["kind", "site", "confusion"])
    assert caught.value.got == "evaluated: confusion"
    with pytest.raises(PolicyError):
        check_fields("records", ["kind"])


@pytest.mark.parametrize("kind", ["described", "trained", "evaluated"])
def test_replies_know_their_time_and_kind(tmp_path: Path, kind: str) -> None:
    def leave(one: Door) -> Message:
        if kind == "described":
            return one.describe(asked(), DescribeReply(site="a", emr_fl="0", python="3", torch="2"), {})
        if kind == "evaluated":
            return one.evaluated(asked(), EvaluateReply(site="a", round=1))
        return one.trained(asked(), train_reply(), update(), SHAPES)

    leave(door(tmp_path, messages=[kind], hours="11:00-13:00"))
    clock = Clock()
    one = door(tmp_path, clock, hours="11:00-13:00")
    clock.now = MONDAY.replace(hour=13)  # the hour struck while it was being prepared
    with pytest.raises(NotNow):
        leave(one)
    others = [other for other in ("described", "trained", "evaluated") if other != kind]
    with pytest.raises(PolicyError, match="does not name"):
        leave(door(tmp_path, messages=others))
    assert kinds(tmp_path) == [kind]


# --- the kill switch ------------------------------------------------------------------------------------------------------


def test_while_the_switch_is_on_only_its_own_refusal_leaves(tmp_path: Path) -> None:
    one, switch = door(tmp_path), KillSwitch(tmp_path)
    assert switch.stop() and not switch.stop()
    for attempt in (
        lambda: one.check(training()),
        lambda: one.trained(asked(), train_reply(), update(), SHAPES),
        lambda: one.evaluated(asked(), EvaluateReply(site="a", round=1)),
        lambda: one.watching(lambda _: None)({"step": 1, "steps": 9}),
    ):
        with pytest.raises(PolicyError, match="stopped everything"):
            attempt()
    failure = unpack(from_records(one.failed(asked(), ValueError("text")).content)[0], Failure)
    assert (failure.cause, failure.reason) == ("policy", "the site has stopped everything that leaves")
    assert switch.resume() and not switch.resume()
    one.check(training())
    one.trained(asked(), train_reply(), update(), SHAPES)
    assert kinds(tmp_path) == ["failed", "trained"]


def test_a_switch_thrown_while_the_entry_was_written_holds_the_message_back(tmp_path: Path) -> None:
    log = tmp_path / "egress.jsonl"

    def late() -> datetime:
        if log.exists():  # from the second entry on
            KillSwitch(tmp_path).stop()
        return MONDAY

    one = Door("a", Policy(), log, state=tmp_path, clock=late)
    one._log.append("began", {})
    with pytest.raises(PolicyError, match="stopped everything"):
        one.trained(asked(), train_reply(), update(), SHAPES)
    entries = read_chain(tmp_path / "egress.jsonl").entries
    assert [entry["kind"] for entry in entries] == ["began", "trained", "withheld"]
    assert entries[2]["of"] == 2 and Usage.of(entries).left == ()


def test_a_stopped_training_ends(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    watched = door(tmp_path).watching(told.append)
    watched({"step": 1, "steps": 9})
    KillSwitch(tmp_path).stop()
    with pytest.raises(PolicyError):
        watched({"step": 2, "steps": 9})
    watched({"doing": "failing"})
    assert [event.get("step") for event in told] == [1, None]


# --- the log ---------------------------------------------------------------------------------------------------------------


def test_an_entry_says_what_when_how_much_and_under_which_policy(tmp_path: Path) -> None:
    policy = {"version": 4}
    door(tmp_path, **policy).trained(asked("demo", 3), train_reply(round=3), update(), SHAPES, question="q")
    (entry,) = read_chain(tmp_path / "egress.jsonl").entries
    assert {
        name: entry[name] for name in ("kind", "run", "round", "tensors", "epsilon", "policy_version")
    } == {
        "kind": "trained",
        "run": "demo",
        "round": 3,
        "tensors": 2,
        "epsilon": None,
        "policy_version": 4,
    }
    assert entry["policy"] == Policy.model_validate(policy).digest() and entry["question"] == "q"
    assert entry["payload_bytes"] == len(update()) and entry["time"].startswith("2026-11-23T12:00:00")


def test_nothing_leaves_once_the_log_was_tampered_with(tmp_path: Path) -> None:
    one = door(tmp_path)
    one.trained(asked(), train_reply(), update(), SHAPES)
    log = tmp_path / "egress.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"round": 1', b'"round": 7'))
    for attempt in (
        lambda: one.check(training()),
        lambda: one.trained(asked(), train_reply(), update(), SHAPES),
        lambda: one.failed(asked(), ValueError()),
    ):
        with pytest.raises(PolicyError, match="not as it was written"):
            attempt()


def test_a_request_that_is_none_is_noted_without_run_and_round(tmp_path: Path) -> None:
    for content in (
        RecordDict(),
        to_records("no json"),
        to_records('["r"]'),
        to_records('{"run": 7, "round": true}'),
    ):
        message = Message(content, 2, "query.describe")
        message.metadata.__dict__["_message_id"] = "1"
        door(tmp_path).failed(message, ValueError())
    entries = read_chain(tmp_path / "egress.jsonl").entries
    assert [(entry["run"], entry["round"]) for entry in entries] == [(None, None)] * 4


def test_policies_differ_by_their_rules_and_not_by_how_they_are_written() -> None:
    assert (
        Policy().digest() == Policy.model_validate({"max_bytes_per_day": None, "smallest_count": 5}).digest()
    )
    assert (
        Policy(max_bytes_per_day=400_000_000).digest()
        == Policy.model_validate({"max_bytes_per_day": "400MB"}).digest()
    )
    assert Policy(version=1).digest() != Policy().digest()
