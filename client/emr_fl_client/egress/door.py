"""The only code at a site that hands anything to Flower.

Deny by default: a reply leaves only if it is one of the bodies of `emr_fl_shared.wire`, every field of it is one that the
site's policy lets out (`rules`), and its payload holds exactly the tensors of the model that the site received, finite and of the
agreed type. Everything that leaves, refusals included, is an entry of the site's own audit log first, and on disk; while the kill
switch is on nothing leaves but the refusal that says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from flwr.app import Message

from emr_fl_client.egress.rules import (
    NotNow,
    Request,
    check_bytes,
    check_examples,
    check_fields,
    check_kind,
    check_norm,
    check_request,
    check_round,
    check_tensors,
    check_time,
    shown,
    shown_count,
    shown_scores,
)
from emr_fl_client.egress.switch import KillSwitch
from emr_fl_client.egress.usage import WITHHELD, Usage
from emr_fl_shared.app import to_records
from emr_fl_shared.chain import Chain, Signer, local_now
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.errors import EmrFlError, PolicyError, SettingsError, StorageError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import CONTROL, PayloadReader, beside, squared_norm
from emr_fl_shared.wire import (
    MAX_BODY_BYTES,
    Body,
    DescribeReply,
    EvaluateReply,
    Failure,
    TrainReply,
    pack,
)

Progress = Callable[[dict[str, Any]], None]


class Door:
    """Checks a reply against `policy`, writes an entry into the audit log at `receipts`, and only then makes Flower's message.

    `signer` signs the log's head; `state` is the folder where the kill switch lies; `clock` says the local time.
    """

    def __init__(
        self,
        site: str,
        policy: Policy,
        receipts: Path,
        *,
        signer: Signer | None = None,
        state: Path | None = None,
        clock: Callable[[], datetime] = local_now,
    ) -> None:
        self._site = site
        self._policy = policy
        self._digest = policy.digest()
        self._log = Chain(receipts, site, signer, clock=clock)
        self._switch = KillSwitch(state) if state is not None else None
        self._clock = clock

    def watching(self, progress: Progress) -> Progress:
        """The same progress, which ends the training that tells of its steps as soon as the kill switch is on (`PolicyError`)."""

        def told(event: dict[str, Any]) -> None:
            if "step" in event:
                self._check_switch()
            progress(event)

        return told

    def check(self, request: Request, question: str = "", *, masked: bool = False) -> None:
        """Refuse, before any work, what could not leave afterwards. `question` identifies a request to train, with its model; `masked`:
        the update is to leave as part of a masked sum.

        Raises `PolicyError`, also if the audit log is not as it was written: then nothing leaves any more.
        """
        self._check_switch()
        check_request(self._policy, request, self._usage(), self._clock(), question, masked=masked)

    def describe(self, request: Message, body: DescribeReply, counts: Mapping[str, int]) -> Message:
        """Answer who we are; `counts` (label name → local records) decides which names leave."""
        names = [name for name in body.labels if counts.get(name, 0) >= self._policy.smallest_count]
        if self._policy.require_dp:  # which labels occur is learned from the records
            names = []
        return self._out(request, body.model_copy(update={"labels": sorted(names)}))

    def trained(
        self,
        request: Message,
        body: TrainReply,
        update: bytes,
        shapes: Mapping[str, tuple[int, ...]],
        *,
        question: str = "",
        scale: float = 1.0,
    ) -> Message:
        """Let an update out. `shapes` are those of the model that was received, and of the control variate beside it; `scale`: what
        the update was scaled by to keep the policy's norm.

        Raises `PolicyError` if the policy does not allow this round, these tensors or a control variate, or the update is not exactly
        one of that model.
        """
        policy = self._policy
        check_round(policy, body.round)
        check_examples(policy, body.examples)
        check_tensors(policy, shapes)
        norm = self._norm(body, update, shapes)
        safe = body.model_copy(
            update={
                "received": shown_scores(policy, body.received),
                "loss": shown(policy, "loss", body.loss),
                "seconds": round(body.seconds, 3),
                "validation_examples": shown_count(policy, body.validation_examples),
                "label_counts": self._label_counts(body.label_counts),
                "effective_labels": body.effective_labels if policy.share_label_counts else None,
            }
        )
        facts = {
            "tensors": len(shapes),
            "tensor_names": hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest(),
            "norm": float(f"{norm:.6g}"),
            "scaled": float(f"{scale:.6g}"),
            **({"question": question} if question else {}),
        }
        return self._out(request, safe, update, **facts)

    def _norm(self, body: TrainReply, update: bytes, shapes: Mapping[str, tuple[int, ...]]) -> float:
        """L2 norm of the update, every tensor read and checked; that of a control variate is held to the same limit."""
        squares = {"": 0.0, CONTROL: 0.0}
        try:
            with PayloadReader(update, shapes, body.payload) as reader:
                for name in shapes:
                    kind = CONTROL if name.startswith(beside(CONTROL, "")) else ""
                    squares[kind] += squared_norm(reader.read(name))
        except EmrFlError as error:
            raise PolicyError(
                tr("the update does not match the received model", "更新与收到的模型不符"), got=error.message
            ) from None
        for square in squares.values():
            check_norm(self._policy, math.sqrt(square))
        return math.sqrt(squares[""])

    def evaluated(self, request: Message, body: EvaluateReply) -> Message:
        """Let scores out, rounded, and only over enough records."""
        return self._out(request, body.model_copy(update={"scores": shown_scores(self._policy, body.scores)}))

    def failed(self, request: Message, error: BaseException) -> Message:
        """Say that a request was not carried out. Only messages that we wrote ourselves leave, without the details: those
        name the site's files and headers. Of any other exception, only the name of its type leaves: its text could quote a
        record. While the kill switch is on, that is all that is said.

        Raises `StorageError` where even that can't be written into the audit log, and `PolicyError` where the log was tampered with:
        then nothing leaves, and the caller has to end with it.
        """
        try:
            self._check_switch()
        except PolicyError as stopped:
            error = stopped
        if isinstance(error, PolicyError):
            cause, reason = "later" if isinstance(error, NotNow) else "policy", _policy_reason(error)
        elif isinstance(error, EmrFlError):
            cause, reason = "data", _plain_message(error)
        else:
            cause, reason = "internal", type(error).__name__
        body = Failure.model_validate({"site": self._site, "cause": cause, "reason": reason[:2000]})
        return self._out(request, body, cause=cause, reason=body.reason)

    def _label_counts(self, counts: list[int] | None) -> list[int] | None:
        if counts is None or not self._policy.share_label_counts:
            return None
        return [shown_count(self._policy, count) for count in counts]

    def _check_switch(self) -> None:
        if self._switch is not None:
            self._switch.check()

    def _usage(self) -> Usage:
        with self._or_nothing_leaves():
            return Usage.of(self._log.entries())

    def _out(self, request: Message, body: Body, update: bytes | None = None, **facts: Any) -> Message:
        text = pack(body)
        given = body.model_dump(exclude_none=True)
        kind = str(given["kind"])
        payload = update or b""
        body_bytes = len(text.encode())
        digest = hashlib.sha256(text.encode() + payload).hexdigest()
        run, round_asked = _asked(request)
        number = given.get("round", round_asked)
        check_fields(kind, given)
        if kind != "failed":
            self._check_switch()
            now = self._clock()
            check_kind(self._policy, kind)
            check_time(self._policy, now)
            check_bytes(self._policy, self._usage(), now, run, number, body_bytes + len(payload), digest)
        entry = self._write(
            kind,
            {
                "run": run,
                "round": number,
                "fields": sorted(given),
                "body_bytes": body_bytes,
                "payload_bytes": len(payload),
                "payload_format": given.get("payload"),
                "tensors": 0,
                "sha256": digest,
                "policy": self._digest,
                "policy_version": self._policy.version,
                "epsilon": _epsilon(given),
                **facts,
            },
        )
        if kind != "failed" and self._switch is not None and self._switch.stopped:
            self._write(WITHHELD, {"of": entry["seq"]})  # switched on while the entry was being written
            self._switch.check()
        return Message(to_records(text, update), reply_to=request)

    def _write(self, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        with self._or_nothing_leaves():
            return self._log.append(kind, facts)

    @contextmanager
    def _or_nothing_leaves(self) -> Iterator[None]:
        """An audit log that can't be written means that nothing leaves."""
        try:
            yield
        except StorageError as error:
            raise StorageError(
                tr(
                    "the receipt could not be written, so nothing was sent",
                    "回执无法写入，因此没有发送任何内容",
                ),
                where=str(self._log.path),
                got="; ".join(part for part in (error.message, error.got) if part),
                do=tr(
                    "make room on the disk or mend the folder's permissions, then start this site again",
                    "请清理磁盘空间或修正目录权限，然后重新启动本机构",
                ),
            ) from None


def _asked(request: Message) -> tuple[str | None, int | None]:
    """Run and round that a request names, for the log; `None` each where it names none, or is no request at all."""
    try:
        text = request.content.config_records["body"]["json"]
        body = json.loads(text) if isinstance(text, str) and len(text) <= MAX_BODY_BYTES else {}
    except (KeyError, ValueError, RecursionError):
        return None, None
    run, number = (body.get("run"), body.get("round")) if isinstance(body, dict) else (None, None)
    named = isinstance(run, str) and 0 < len(run) <= 128
    return (run if named else None), (number if type(number) is int else None)


def _epsilon(given: Mapping[str, Any]) -> float | None:
    """The privacy budget spent so far, where a reply tells it."""
    found = given.get("epsilon")
    return float(found) if isinstance(found, int | float) else None


def _plain_message(error: EmrFlError) -> str:
    """What happened, without where, what was got and what to do: those are for the site's own eyes."""
    if isinstance(error, SettingsError) and error.problems:  # its message lists them with all details
        return "\n".join(_plain_message(problem) for problem in error.problems)
    return error.message


def _policy_reason(error: PolicyError) -> str:
    section, _, setting = error.where.partition(".")
    named = section == "policy" and setting in Policy.model_fields
    return f"{error.where}: {error.message}" if named else error.message
