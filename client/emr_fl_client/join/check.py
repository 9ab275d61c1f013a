"""`emr-fl client check`: everything that could go wrong, before joining, each line with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

from emr_fl_client.dataset.ledger import FOLDER, SplitLedger
from emr_fl_client.egress.switch import KillSwitch
from emr_fl_client.join.greeting import Greeter, Unreachable
from emr_fl_client.join.place import Place, Places
from emr_fl_shared.chain import Chain
from emr_fl_shared.config.settings import Policy
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.configured import site_deidentifier
from emr_fl_shared.deidentify.gate import is_off, measure_site, refuse_below
from emr_fl_shared.deidentify.measurement import wilson
from emr_fl_shared.errors import EmrFlError, PolicyError, SettingsError
from emr_fl_shared.hello import HelloReply
from emr_fl_shared.labels import COLUMN, NO_LOCAL_LABELS, OUTPATIENT, load_taxonomy, map_labels
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.messages import tr
from emr_fl_shared.quality import Level
from emr_fl_shared.records import Record, note_text

ROBERTA_MB, TINY_MB = 409.0, 4.3
"""What crosses in one direction for the two encoders that most federations use, fp32."""
MEMORY_MB = 4096
DISK_MB = 2048
SAMPLE_ROWS = 2000
CLOCK_SECONDS = 2.0
SLOW_LINE = 2**17
"""1 Mbit/s in bytes a second: below, a RoBERTa does not cross in an hour."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, what was seen, and what to do unless it is ok."""

    subject: str
    level: Level
    seen: str
    do: str = ""


def check(places: Places, *, taxonomy: str | None = None, network: bool = True) -> Iterator[Finding]:
    """Look at everything in turn; a line that stops leaves out only what depends on it.

    `taxonomy`: labels to check against; left out, the names in a label column are taken as they stand, and codes are
    checked against the built-in categories.
    """
    yield _versions()
    yield from _machine()
    try:
        place = places.open()
    except EmrFlError as error:
        problems = error.problems if isinstance(error, SettingsError) else []
        for problem in problems or [error]:
            yield _stop(tr("kit and settings", "套件与设置"), problem)
        return
    yield _kit(place)
    yield _state(place)
    yield from _data(place, taxonomy)
    yield _policy(place)
    yield _audit_log(place)
    if network:
        yield from _server(place)


def _versions() -> Finding:
    names = ("emr-fl", "flwr", "torch", "transformers")
    seen = f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)
    if not (3, 11) <= tuple(int(part) for part in platform.python_version_tuple()[:2]) < (3, 13):
        return Finding(
            tr("versions", "版本"), "stop", seen, tr("use Python 3.11 or 3.12", "请使用 Python 3.11 或 3.12")
        )
    return Finding(tr("versions", "版本"), "ok", seen)


def _machine() -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 2**20
    yield Finding(
        tr("memory", "内存"),
        "ok" if free >= MEMORY_MB else "warning",
        f"{free:.0f} MB {tr('free', '可用')}",
        ""
        if free >= MEMORY_MB
        else tr("tiny needs 1 GB, a RoBERTa 4 GB and more", "tiny 需要 1 GB，RoBERTa 需要 4 GB 以上"),
    )
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding("GPU", "ok", names)
    else:
        yield Finding(
            "GPU",
            "warning",
            tr(f"none; {os.cpu_count()} CPU cores", f"无；{os.cpu_count()} 个 CPU 核"),
            tr(
                "a RoBERTa takes hours a round without one; tiny takes minutes",
                "无 GPU 时 RoBERTa 每轮需数小时；tiny 需数分钟",
            ),
        )


def _kit(place: Place) -> Finding:
    days = place.kit.days_left()
    seen = tr(
        f"{place.name} in federation {place.kit.document.federation}, {days} days left",
        f"{place.name}，联邦 {place.kit.document.federation}，剩余 {days} 天",
    )
    warning = place.kit.warning()
    return Finding(tr("kit", "套件"), "warning" if warning else "ok", seen, warning or "")


def _state(place: Place) -> Finding:
    subject = tr("folder of the site's state", "机构状态目录")
    free = shutil.disk_usage(place.state).free / 2**20
    probe = place.state / ".probe"
    try:
        probe.write_bytes(b"")
        probe.unlink()
        SplitLedger(place.state / FOLDER, place.pseudonym_key()).read()
    except OSError as error:
        return Finding(
            subject, "stop", f"{place.state}: {error.strerror}", tr("make it writable", "请使其可写")
        )
    except EmrFlError as error:
        return _stop(subject, error)
    if free < DISK_MB:
        return Finding(
            subject, "warning", f"{free:.0f} MB {tr('free', '可用')}", tr("free some space", "请清理空间")
        )
    return Finding(subject, "ok", f"{place.state}, {free:.0f} MB {tr('free', '可用')}")


def _data(place: Place, taxonomy_name: str | None) -> Iterator[Finding]:
    from emr_fl_shared.sources import describe_reason, read_records

    subject = tr("records", "记录")
    try:
        records, report = read_records(place.settings.records_source(), place.settings.columns)
    except EmrFlError as error:
        yield _stop(subject, error)
        return
    wrong = [f"{reason} {count}" for reason, count in sorted(report.skipped.items())]
    wrong += [f"{describe_reason(reason)}: {count}" for reason, count in sorted(report.repaired.items())]
    noted = ", ".join(wrong)
    yield Finding(
        subject,
        "warning" if noted else "ok",
        tr(f"{len(records)} read", f"读取 {len(records)} 条") + (f"; {noted}" if noted else ""),
        tr("look at these rows in the export", "请检查导出文件中的这些行") if noted else "",
    )
    own = place.local_labels
    as_they_stand = own is None and taxonomy_name is None and any(record.labels for record in records)
    if taxonomy_name == COLUMN or as_they_stand:
        yield _label_names(records, place.settings.policy.smallest_count)
    else:
        try:
            yield _mapped_labels(records, taxonomy_name or OUTPATIENT, own)
        except EmrFlError as error:
            yield _stop(tr("labels", "标签"), error)
    try:
        cleaner = site_deidentifier(place.settings, key=place.pseudonym_key())
    except OSError:
        return  # `_state` said so
    except EmrFlError as error:
        yield _stop(tr("de-identification", "去标识化"), error)
        return
    yield from _deidentification(records[:SAMPLE_ROWS], cleaner, place.settings.policy)


def _deidentification(records: list[Record], cleaner: Deidentifier, policy: Policy) -> Iterator[Finding]:
    """What is removed, and whether what the site plants itself is found often enough."""
    found: Counter[str] = Counter()
    texts: list[str] = []
    for _, result in cleaner.cleaned(records):
        found.update(result.counts)
        texts.append(note_text(result.record))
    kinds = ", ".join(f"{kind} {count}" for kind, count in found.most_common())
    yield Finding(
        tr("identifiers removed", "去除的标识符"),
        "ok",
        tr(f"in {len(records)} records: ", f"{len(records)} 条记录中：") + (kinds or "0"),
    )
    subject = tr("de-identification", "去标识化")
    recall = measure_site(texts, cleaner)
    low, high = wilson(recall.total.removed, recall.total.planted)
    seen = tr(
        f"{recall.total.recall:.3f} of {recall.total.planted} planted identifiers found ({low:.3f}–{high:.3f}), "
        f"names {recall.names.recall:.3f}",
        f"识别出植入标识符的 {recall.total.recall:.3f}（{recall.total.planted} 个，{low:.3f}–{high:.3f}），"
        f"姓名 {recall.names.recall:.3f}",
    )
    try:
        refuse_below(recall, policy, where="policy")
    except PolicyError as error:
        yield Finding(subject, "stop", f"{seen}; {error.got}", error.do)
        return
    if is_off(policy):
        yield Finding(
            subject,
            "warning",
            seen + tr("; no policy asks for any", "；策略未作要求"),
            tr("set policy.deidentification_recall", "请设置 policy.deidentification_recall"),
        )
    else:
        yield Finding(subject, "ok", seen)


def _label_names(records: list[Record], smallest: int) -> Finding:
    """The label column as it stands: how many names, and how many of them are too rare to leave."""
    counts = Counter(name for record in records for name in set(record.labels))
    labelled = sum(bool(record.labels) for record in records)
    rare = sum(count < smallest for count in counts.values())
    level: Level = "ok" if labelled > 0.8 * len(records) else "warning" if labelled else "stop"
    return Finding(
        tr("labels", "标签"),
        level,
        tr(
            f"{labelled} of {len(records)} records have a label, {len(counts)} names; {rare} names with fewer than {smallest} stay here",
            f"{len(records)} 条记录中 {labelled} 条有标签，共 {len(counts)} 个名称；{rare} 个少于 {smallest} 条的名称不外传",
        ),
        "" if level == "ok" else tr("records without a label do not train", "没有标签的记录不参与训练"),
    )


def _mapped_labels(records: list[Record], name: str, own: LocalMapping | None) -> Finding:
    """How many records have a label of the taxonomy, and how many of its labels occur; with the site's own mapping."""
    taxonomy = load_taxonomy(name)
    local = own.bind(taxonomy) if own is not None else NO_LOCAL_LABELS
    mapped = 0
    labels: set[int] = set()
    for record in records:
        indices, _ = map_labels(record, taxonomy, local)
        mapped += bool(indices)
        labels |= set(indices)
    share = mapped / max(1, len(records))
    level: Level = "ok" if share > 0.8 else "warning" if mapped else "stop"
    return Finding(
        tr("labels", "标签"),
        level,
        tr(
            f"{share:.0%} of the records have a label of {name}; {len(labels)} of {len(taxonomy.labels)} labels occur",
            f"{share:.0%} 的记录有 {name} 标签；出现 {len(labels)}/{len(taxonomy.labels)} 个标签",
        )
        + (
            tr(f"; {len(local)} values mapped by the site", f"；本机构映射 {len(local)} 个值")
            if local
            else ""
        ),
        ""
        if level == "ok"
        else tr("check the column of diagnosis codes", "请检查诊断编码列；记录没有标签就不参与训练"),
    )


def _policy(place: Place) -> Finding:
    policy, signed = place.settings.policy, place.settings.policy_file
    seen = tr(
        f"counts below {policy.smallest_count} stay here; scores {'leave' if policy.share_scores else 'stay'}; "
        f"at most {policy.max_rounds} rounds; ",
        f"小于 {policy.smallest_count} 的计数不外传；得分{'可' if policy.share_scores else '不'}外传；最多 {policy.max_rounds} 轮；",
    ) + (
        tr(f"POLICY.toml, version {policy.version}, signed", f"POLICY.toml 第 {policy.version} 版，已签名")
        if signed
        else tr("of SITE.toml, not signed", "取自 SITE.toml，未签名")
    )
    if KillSwitch(place.state).stopped:
        return Finding(
            tr("policy", "策略"),
            "warning",
            tr("stopped by the kill switch: nothing leaves; ", "已紧急停止：不外传任何内容；") + seen,
            f"emr-fl client policy resume --site {place.name}",
        )
    return Finding(tr("policy", "策略"), "ok", seen)


def _audit_log(place: Place) -> Finding:
    subject = tr("audit log", "审计日志")
    try:
        count = len(Chain(place.receipts, place.name, place.signer()).entries())
    except EmrFlError as error:
        return _stop(subject, error)
    return Finding(subject, "ok", tr(f"{count} entries, whole", f"{count} 条记录，完整"))


def _server(place: Place) -> Iterator[Finding]:
    subject = tr("server", "服务器")
    greeter = Greeter(place.kit)
    try:
        reply = greeter.hello()
        yield Finding(
            subject,
            "ok",
            tr(
                f"{greeter.address} answers; its certificate is the federation's; emr-fl {reply.emr_fl}",
                f"{greeter.address} 有应答；证书属于本联邦；emr-fl {reply.emr_fl}",
            ),
        )
        yield _clock(reply)
        yield _federation_versions(reply)
        yield _line(greeter)
    except Unreachable as error:
        yield Finding(subject, "warning", error.render().splitlines()[0], error.do)
    except PolicyError as error:
        yield _stop(subject, error)
    finally:
        greeter.close()


def _clock(reply: HelloReply) -> Finding:
    skew = (datetime.now(UTC) - reply.time).total_seconds()
    level: Level = "ok" if abs(skew) <= CLOCK_SECONDS else "warning"
    return Finding(
        tr("clock", "时钟"),
        level,
        tr(f"{skew:+.1f} s against the server", f"与服务器相差 {skew:+.1f} 秒"),
        "" if level == "ok" else tr("set it by NTP", "请用 NTP 校时"),
    )


def _federation_versions(reply: HelloReply) -> Finding:
    """Versions that do not fit end the greeting before this."""
    return Finding(
        tr("the federation's versions", "联邦所用版本"), "ok", f"emr-fl {reply.emr_fl}, flwr {reply.flwr}"
    )


def _line(greeter: Greeter) -> Finding:
    line = greeter.probe()

    def minutes(megabytes: float) -> str:
        seconds = megabytes * 2**20 * 2 / line.rate
        return f"{seconds / 60:.1f}"

    return Finding(
        tr("line", "线路"),
        "ok" if line.rate > SLOW_LINE else "warning",
        tr(
            f"{line.rate / 2**17:.1f} Mbit/s, {1000 * line.seconds:.0f} ms; a round's transfers take {minutes(TINY_MB)} min "
            f"with tiny, {minutes(ROBERTA_MB)} min with a RoBERTa in fp32",
            f"{line.rate / 2**17:.1f} Mbit/s，{1000 * line.seconds:.0f} 毫秒；每轮传输 tiny 约 {minutes(TINY_MB)} 分钟，"
            f"RoBERTa (fp32) 约 {minutes(ROBERTA_MB)} 分钟",
        ),
        "",
    )


def _stop(subject: str, error: EmrFlError) -> Finding:
    lines = error.render().splitlines()
    return Finding(subject, "stop", lines[0], error.do)
