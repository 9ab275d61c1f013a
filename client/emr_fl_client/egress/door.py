"""The only code at a site that hands anything to Flower.

Deny by default: a reply leaves only if it is one of the bodies of `emr_fl_shared.wire`, every field of it is one that the
site's policy lets out, and its payload holds exactly the tensors of the model that the site received, finite and of the
agreed type. Everything that leaves, refusals included, is written to the site's own receipts first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flwr.app import Message

from emr_fl_shared.app import to_records
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.durable import storage_error
from emr_fl_shared.errors import EmrFlError, PolicyError, SettingsError, StorageError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import CONTROL, PayloadReader, beside
from emr_fl_shared.wire import (
    Body,
    DescribeReply,
    EvaluateReply,
    Failure,
    SiteScores,
    TrainReply,
    TrainRequest,
    pack,
)

SCORE_DIGITS = 4


@dataclass(frozen=True)
class Receipt:
    """What left, as the site's `egress.jsonl` holds it: never a value of a record."""

    time: str
    kind: str
    objective: str | None
    round: int | None
    fields: list[str]
    body_bytes: int
    payload_bytes: int
    payload_format: str | None
    tensors: int
    sha256: str


class Door:
    """Checks a reply against `policy`, writes a receipt into `receipts`, and only then makes Flower's message."""

    def __init__(self, site: str, policy: Policy, receipts: Path) -> None:
        self._site = site
        self._policy = policy
        self._receipts = receipts

    def describe(self, request: Message, body: DescribeReply, counts: Mapping[str, int]) -> Message:
        """Answer who we are; `counts` (label name → local records) decides which names leave."""
        names = [name for name in body.labels if counts.get(name, 0) >= self._policy.smallest_count]
        return self._out(request, body.model_copy(update={"labels": sorted(names)}))

    def check(self, request: TrainRequest) -> None:
        """Refuse, before any work, what could not leave afterwards. Raises `PolicyError`."""
        self._check_round(request.round)
        self._check_objective(request.objective)
        if request.controls:
            self._check_controls()
        if request.effective_beta is not None and not self._policy.share_label_counts:
            raise PolicyError(
                tr(
                    "the server weighs updates by label counts, which the site's policy keeps in",
                    "服务器按标签计数加权，而本机构策略不允许标签计数外传",
                ),
                where="policy.share_label_counts",
                got="false",
                expected="true",
                do=tr(
                    "set policy.share_label_counts, or agree on another aggregation.weighting with the server",
                    "请设置 policy.share_label_counts，或与服务器商定其他 aggregation.weighting",
                ),
            )

    def _check_round(self, number: int) -> None:
        if number > self._policy.max_rounds:
            raise PolicyError(
                tr("the site's policy allows no further round", "本机构策略不允许更多轮次"),
                where="policy.max_rounds",
                got=str(number),
                expected=f"<= {self._policy.max_rounds}",
            )

    def _check_objective(self, objective: str) -> None:
        if objective == "mlm" and not self._policy.share_language_model:
            raise PolicyError(
                tr(
                    "the server asks for a masked language model of the texts, which the site's policy keeps in",
                    "服务器要求用文本训练掩码语言模型，而本机构策略不允许其更新外传",
                ),
                where="policy.share_language_model",
                got="false",
                expected="true",
                do=tr(
                    "set policy.share_language_model, or agree with the server on pretraining.rounds = 0",
                    "请设置 policy.share_language_model，或与服务器商定 pretraining.rounds = 0",
                ),
            )

    def _check_controls(self) -> None:
        if not self._policy.share_controls:
            raise PolicyError(
                tr(
                    "the strategy needs the site's mean gradient beside its update, which its policy keeps in",
                    "该策略除更新外还需要本机构的平均梯度，而机构策略不允许其外传",
                ),
                where="policy.share_controls",
                got="false",
                expected="true",
                do=tr(
                    "set policy.share_controls, or agree on another aggregation.strategy with the server",
                    "请设置 policy.share_controls，或与服务器商定其他 aggregation.strategy",
                ),
            )

    def trained(
        self,
        request: Message,
        body: TrainReply,
        update: bytes,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Message:
        """Let an update out. `shapes` are those of the model that was received, and of the control variate beside it.

        Raises `PolicyError` if the policy does not allow this round or a control variate, or the update is not exactly one of
        that model.
        """
        self._check_round(body.round)
        self._check_objective(body.objective)
        if any(name.startswith(beside(CONTROL, "")) for name in shapes):
            self._check_controls()
        try:
            with PayloadReader(update, shapes, body.payload) as reader:
                for name in shapes:
                    reader.read(name)
        except EmrFlError as error:
            raise PolicyError(
                tr("the update does not match the received model", "更新与收到的模型不符"), got=error.message
            ) from None
        safe = body.model_copy(
            update={
                "received": self._scores(body.received),
                "loss": round(body.loss, SCORE_DIGITS)
                if body.loss is not None and self._policy.share_scores
                else None,
                "seconds": round(body.seconds, 3),
                "label_counts": self._label_counts(body.label_counts),
                "effective_labels": body.effective_labels if self._policy.share_label_counts else None,
            }
        )
        return self._out(request, safe, update, tensors=len(shapes))

    def evaluated(self, request: Message, body: EvaluateReply) -> Message:
        """Let scores out, rounded, and only over enough records."""
        return self._out(request, body.model_copy(update={"scores": self._scores(body.scores)}))

    def failed(self, request: Message, error: BaseException) -> Message:
        """Say that a request was not carried out. Only messages that we wrote ourselves leave, without the details: those
        name the site's files and headers. Of any other exception, only the name of its type leaves: its text could quote a
        record.

        Raises `StorageError` where even that can't be put on a receipt: then nothing leaves, and the caller has to end with it.
        """
        if isinstance(error, PolicyError):
            cause, reason = "policy", _policy_reason(error)
        elif isinstance(error, EmrFlError):
            cause, reason = "data", _plain_message(error)
        else:
            cause, reason = "internal", type(error).__name__
        body = Failure.model_validate({"site": self._site, "cause": cause, "reason": reason[:2000]})
        return self._out(request, body)

    def _label_counts(self, counts: list[int] | None) -> list[int] | None:
        if counts is None or not self._policy.share_label_counts:
            return None
        return [count if count >= self._policy.smallest_count else 0 for count in counts]

    def _scores(self, scores: SiteScores | None) -> SiteScores | None:
        if scores is None or not self._policy.share_scores or scores.n < self._policy.smallest_count:
            return None
        return SiteScores(
            n=scores.n,
            macro_f1=round(scores.macro_f1, SCORE_DIGITS),
            micro_f1=round(scores.micro_f1, SCORE_DIGITS),
        )

    def _out(self, request: Message, body: Body, update: bytes | None = None, tensors: int = 0) -> Message:
        text = pack(body)
        given = body.model_dump(exclude_none=True)
        self._write(
            Receipt(
                time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                kind=str(given["kind"]),
                objective=given.get("objective"),
                round=given.get("round"),
                fields=sorted(given),
                body_bytes=len(text.encode()),
                payload_bytes=len(update) if update else 0,
                payload_format=given.get("payload"),
                tensors=tensors,
                sha256=hashlib.sha256(text.encode() + (update or b"")).hexdigest(),
            )
        )
        return Message(to_records(text, update), reply_to=request)

    def _write(self, receipt: Receipt) -> None:
        # A receipt that can't be written means that nothing leaves.
        try:
            self._receipts.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._receipts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                line = (json.dumps(asdict(receipt)) + "\n").encode()
                before = os.fstat(descriptor).st_size
                if os.write(descriptor, line) < len(
                    line
                ):  # the last free bytes of the disk took a part of it
                    os.ftruncate(descriptor, before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            cause = storage_error(error, self._receipts.parent)
            raise StorageError(
                tr(
                    "the receipt could not be written, so nothing was sent",
                    "回执无法写入，因此没有发送任何内容",
                ),
                where=str(self._receipts),
                got="; ".join(part for part in (cause.message, cause.got) if part),
                do=tr(
                    "make room on the disk or mend the folder's permissions, then start this site again",
                    "请清理磁盘空间或修正目录权限，然后重新启动本机构",
                ),
            ) from None


def _plain_message(error: EmrFlError) -> str:
    """What happened, without where, what was got and what to do: those are for the site's own eyes."""
    if isinstance(error, SettingsError) and error.problems:  # its message lists them with all details
        return "\n".join(_plain_message(problem) for problem in error.problems)
    return error.message


def _policy_reason(error: PolicyError) -> str:
    section, _, setting = error.where.partition(".")
    named = section == "policy" and setting in Policy.model_fields
    return f"{error.where}: {error.message}" if named else error.message
