"""A site's policy as checks: what is asked of it before any work, and what is about to leave.

Each raises `PolicyError` that names the rule (`where = "policy.…"`), which the coordinator is told; details stay at the site.
What mends itself by waiting (hours, bytes a day) raises `NotNow`: the coordinator asks again instead of giving up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, time
from fnmatch import fnmatchcase
from typing import Any

from emr_fl_client.egress.usage import Usage
from emr_fl_shared.config.settings import WEEKDAYS, DifferentialPrivacy, Model, Policy
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import CONTROL, beside
from emr_fl_shared.wire import DescribeRequest, EvaluateRequest, SiteScores, TrainRequest

LEAVES: Mapping[str, frozenset[str]] = {
    kind: frozenset(fields.split()) | {"protocol", "kind", "site"}
    for kind, fields in {
        "described": "labels emr_fl python torch",
        "trained": "round examples validation_examples steps seconds loss received single_label label_counts effective_labels "
        "payload device precision peak_rss_mb epsilon delta unit",
        "evaluated": "round scores",
        "failed": "cause reason",
    }.items()
}
"""The fields of each message that may leave at all. A field that is added to a message leaves only once it is added here, too."""

ANSWERS = {DescribeRequest: "described", TrainRequest: "trained", EvaluateRequest: "evaluated"}
Request = DescribeRequest | TrainRequest | EvaluateRequest


class NotNow(PolicyError):
    """Refused now, and not for good."""


def refusal(rule: str, en: str, zh: str, *, got: str = "", expected: str = "", do: str = "") -> PolicyError:
    """The error for a broken rule of `Policy`."""
    return PolicyError(tr(en, zh), where=f"policy.{rule}", got=got, expected=expected, do=do)


def check_request(
    policy: Policy,
    request: Request,
    usage: Usage,
    now: datetime,
    question: str = "",
    *,
    masked: bool = False,
) -> None:
    """Refuse, before any work, what could not leave afterwards. `question` identifies a request to train, with its model."""
    check_kind(policy, ANSWERS[type(request)])
    check_time(policy, now)
    if isinstance(request, DescribeRequest):
        return
    unknown = sorted(set(request.model) - set(Model.model_fields))
    if unknown:
        raise PolicyError(
            tr("the request holds what this site does not know", "请求中含有本机构不认识的内容"),
            got=", ".join(key[:40] for key in unknown),
            expected=", ".join(sorted(Model.model_fields)),
        )
    if isinstance(request, TrainRequest):
        check_protection(policy, request, masked=masked)
        _check_training(policy, request, usage, question)


def _check_training(policy: Policy, request: TrainRequest, usage: Usage, question: str) -> None:
    check_round(policy, request.round)
    answered = usage.rounds(request.run)
    if len(answered) >= policy.max_rounds and question not in answered:
        raise _too_many("max_rounds", len(answered) + 1, policy.max_rounds)
    answered = usage.updates(policy.digest())
    if policy.max_updates is not None and len(answered) >= policy.max_updates and question not in answered:
        raise _too_many("max_updates", len(answered) + 1, policy.max_updates)
    if (when := usage.over(question)) is not None:
        raise PolicyError(
            tr("this question was answered before, and others since", "该请求早已应答过，其后还有其他请求"),
            got=when,
            do=tr(
                "if the coordinator really repeats the federation, it takes another seed or run folder",
                "若协调方确要重复该联邦，请更换随机种子或运行目录",
            ),
        )
    if request.payload not in policy.payloads:
        raise _not_named("payloads", request.payload, policy.payloads)
    if request.controls:
        check_controls(policy)
    if request.effective_beta is not None and not policy.share_label_counts:
        raise refusal(
            "share_label_counts",
            "the server weighs updates by label counts, which the site's policy keeps in",
            "服务器按标签计数加权，而本机构策略不允许标签计数外传",
            got="false",
            expected="true",
            do=tr(
                "set policy.share_label_counts, or agree on another aggregation.weighting with the server",
                "请设置 policy.share_label_counts，或与服务器商定其他 aggregation.weighting",
            ),
        )


def check_protection(policy: Policy, request: TrainRequest, *, masked: bool = False) -> None:
    """Refuse a request to train that does not bring the protection the policy demands. `privacy` is what it wishes of
    differential privacy; `masked`: the update is to leave as part of a masked sum."""
    wish = DifferentialPrivacy.model_validate(request.privacy)
    if policy.require_dp and not wish.enabled:
        raise refusal(
            "require_dp",
            "the site's policy lets nothing out that was trained without differential privacy",
            "本机构策略不允许未采用差分隐私训练的内容外传",
            got=tr("a request without it", "请求未使用差分隐私"),
            do=tr("agree on [privacy.dp] with the server", "请与服务器商定 [privacy.dp]"),
        )
    for name, asked, most in (
        ("max_epsilon", wish.target_epsilon, policy.max_epsilon),
        ("max_delta", wish.delta, policy.max_delta),
    ):
        if wish.enabled and most is not None and asked > most:
            raise refusal(
                name,
                "the server asks for more of the privacy budget than the site's policy allows",
                "服务器请求的隐私预算超出本机构策略",
                got=f"{asked:g}",
                expected=f"<= {most:g}",
            )
    if policy.require_secure_aggregation and not masked:
        raise refusal(
            "require_secure_aggregation",
            "the site's policy lets updates out only masked, as part of a sum",
            "本机构策略只允许更新以掩码形式作为总和的一部分外传",
            got=tr("a request without it", "请求未使用安全聚合"),
        )


def check_kind(policy: Policy, kind: str) -> None:
    """Refuse a reply of a kind that the policy does not name."""
    if kind not in policy.messages:
        raise _not_named("messages", kind, policy.messages)


def check_time(policy: Policy, now: datetime) -> None:
    """Refuse outside the policy's hours and days; raises `NotNow`."""
    day = WEEKDAYS[now.weekday()]
    if day not in policy.weekdays:
        raise _not_now(
            "weekdays",
            "the site's policy lets nothing out today",
            "本机构策略今日不允许外传",
            day,
            " ".join(policy.weekdays),
        )
    if policy.hours is None:
        return
    begin, end = (time.fromisoformat(part) for part in policy.hours.split("-"))
    at = now.time().replace(tzinfo=None)
    if not (begin <= at < end if begin < end else at >= begin or at < end):
        raise _not_now(
            "hours",
            "the site's policy lets nothing out at this hour",
            "本机构策略此时段不允许外传",
            f"{at:%H:%M}",
            policy.hours,
        )


def check_round(policy: Policy, number: int) -> None:
    """Refuse a round of a higher number than the policy allows."""
    if number > policy.max_rounds:
        raise _too_many("max_rounds", number, policy.max_rounds)


def check_controls(policy: Policy) -> None:
    """Refuse a control variate unless the policy lets it out."""
    if not policy.share_controls:
        raise refusal(
            "share_controls",
            "the strategy needs the site's mean gradient beside its update, which its policy keeps in",
            "该策略除更新外还需要本机构的平均梯度，而机构策略不允许其外传",
            got="false",
            expected="true",
            do=tr(
                "set policy.share_controls, or agree on another aggregation.strategy with the server",
                "请设置 policy.share_controls，或与服务器商定其他 aggregation.strategy",
            ),
        )


def check_examples(policy: Policy, examples: int) -> None:
    """Refuse an update that was trained on fewer records than the smallest count."""
    if examples < policy.smallest_count:
        raise refusal(
            "smallest_count",
            "too few records were trained on for an update to leave",
            "训练记录过少，更新不得外传",
            got=str(examples),
            expected=f">= {policy.smallest_count}",
        )


def check_tensors(policy: Policy, names: Iterable[str]) -> None:
    """Refuse tensors of which the policy names none; those of a control variate go by the model's tensor they belong to."""
    for name in names:
        own = name.removeprefix(beside(CONTROL, ""))
        if not any(fnmatchcase(own, pattern) for pattern in policy.tensors):
            raise _not_named("tensors", name, policy.tensors)
        if own != name:
            check_controls(policy)


def check_norm(policy: Policy, norm: float) -> None:
    """Refuse an update that was not scaled down to the policy's norm; one part in a million is left to rounding."""
    limit = policy.max_update_norm
    if limit is not None and not norm <= limit * (1 + 1e-6):
        raise refusal(
            "max_update_norm",
            "the update is larger than the site's policy allows",
            "更新的范数超过本机构策略的限度",
            got=f"{norm:.6g}",
            expected=f"<= {limit:g}",
        )


def check_bytes(
    policy: Policy, usage: Usage, now: datetime, run: str | None, round: int | None, size: int, digest: str
) -> None:
    """Refuse what would be more bytes than the policy allows in a round, or (`NotNow`) on a day."""
    in_round = size + usage.bytes_in(run, round, digest)
    if policy.max_bytes_per_round is not None and in_round > policy.max_bytes_per_round:
        raise _too_many("max_bytes_per_round", in_round, policy.max_bytes_per_round)
    today = size + usage.bytes_on(f"{now:%Y-%m-%d}")
    if policy.max_bytes_per_day is not None and today > policy.max_bytes_per_day:
        raise _not_now(
            "max_bytes_per_day",
            "the site's policy lets no more bytes out today",
            "本机构策略今日不允许更多字节外传",
            str(today),
            f"<= {policy.max_bytes_per_day}",
        )


def check_fields(kind: str, fields: Iterable[str]) -> None:
    """Refuse a message with a field that is not known to be fit to leave."""
    unknown = sorted(set(fields) - LEAVES.get(kind, frozenset()))
    if unknown:
        raise PolicyError(
            tr("a field that no policy lets out", "消息中含有策略未允许的字段"),
            got=f"{kind}: {', '.join(unknown)}",
        )


def shown_scores(policy: Policy, scores: SiteScores | None) -> SiteScores | None:
    """The scores as they may leave: over enough records, each of its figures named by the policy and rounded; otherwise none."""
    if scores is None or scores.n < policy.smallest_count:
        return None
    figures = {
        name: shown(policy, name, value)
        for name, value in scores.model_dump(exclude={"protocol", "n"}).items()
    }
    if any(value is None for value in figures.values()):
        return None
    return SiteScores.model_validate({"n": scores.n, **figures})


def shown(policy: Policy, metric: str, value: float | None) -> float | None:
    """A figure rounded as the policy says, `None` where it does not name it; no privacy budget counts a figure, so with `require_dp`
    none leaves."""
    digits: Mapping[Any, int] = policy.metrics
    if value is None or not policy.share_scores or policy.require_dp or metric not in digits:
        return None
    return round(value, digits[metric])


def shown_count(policy: Policy, count: int) -> int:
    """A count, or 0 below the smallest one that is shown."""
    return count if count >= policy.smallest_count else 0


def _too_many(rule: str, got: int, most: int) -> PolicyError:
    words = {
        "max_rounds": ("the site's policy allows no further round", "本机构策略不允许更多轮次"),
        "max_updates": ("the site's policy lets no further update out", "本机构策略不允许更多更新外传"),
        "max_bytes_per_round": (
            "the site's policy lets no more bytes out in this round",
            "本机构策略本轮不允许更多字节外传",
        ),
    }
    return refusal(rule, *words[rule], got=str(got), expected=f"<= {most}")


def _not_named(rule: str, got: str, named: Iterable[str]) -> PolicyError:
    return refusal(
        rule,
        "the site's policy does not name what would leave",
        "本机构策略未允许该内容外传",
        got=got[:80],
        expected=", ".join(named) or "-",
    )


def _not_now(rule: str, en: str, zh: str, got: str, expected: str) -> NotNow:
    return NotNow(tr(en, zh), where=f"policy.{rule}", got=got, expected=expected)
