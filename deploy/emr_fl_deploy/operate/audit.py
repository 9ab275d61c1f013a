"""`emr-fl client audit` and `emr-fl server audit`: a chained log read, checked, shown and exported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emr_fl_deploy.data_check.quarantine import BOM, csv_line, refuse_existing
from emr_fl_shared.chain import Entry, Reading, damaged, read_chain
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr


@dataclass(frozen=True)
class Shown:
    """How a log is to be shown: only whether it is whole (`verify`), as JSON, into a file."""

    verify: bool = False
    as_json: bool = False
    export: Path | None = None

    def __post_init__(self) -> None:
        if self.export is None:
            return
        if self.export.suffix.lower() not in (".csv", ".jsonl"):
            raise UsageError(
                tr("unknown kind of file", "未知的文件类型"),
                where="--export",
                got=self.export.name,
                expected=".csv | .jsonl",
            )
        refuse_existing(
            self.export,
            where="--export",
            do=tr("name another file, or delete it", "请另选文件名，或先删除该文件"),
        )


def audit(path: Path, how: Shown, *, public: str | None = None) -> Iterator[str]:
    """The lines to print for the log at `path`, whose head `public` must have signed where it is given.

    After the last line raises `PolicyError` if the log is not as it was written; `DataError` if there is none.
    """
    reading = read_chain(path, public=public)
    if how.export is not None:
        write_durably(how.export, _exported(reading, how.export.suffix.lower()))
    if how.as_json:
        yield json.dumps(_plain(path, reading), ensure_ascii=False, indent=2)
    else:
        if not how.verify:
            yield from map(_line, reading.entries)
            yield from _sums(reading.entries)
        if not reading.problems:
            yield from _whole(reading)
    if how.export is not None:
        yield str(how.export)
    if reading.problems:
        raise damaged(path, reading.problems)


def _plain(path: Path, reading: Reading) -> dict[str, Any]:
    return {
        "log": str(path),
        "of": reading.head.log,
        "whole": not reading.problems,
        "problems": reading.problems,
        "signed_by": reading.key,
        "head": reading.head.hash,
        "entries": reading.entries,
    }


def _exported(reading: Reading, suffix: str) -> Iterator[bytes]:
    if suffix == ".jsonl":
        for entry in reading.entries:
            yield json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        return
    found = dict.fromkeys(key for entry in reading.entries for key in entry)
    columns = [name for name in found if name != "previous"] + ["previous"]
    yield BOM
    yield csv_line(columns)
    for entry in reading.entries:
        yield csv_line([_cell(entry.get(name)) for name in columns])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(entry: Entry) -> str:
    """An entry as a person reads it."""
    what = str(entry.get("kind") or entry.get("event") or "?")
    when = str(entry.get("time", ""))[:19].replace("T", " ")
    place = " ".join(
        str(part)
        for part in (
            entry.get("site"),
            entry.get("run"),
            f"r{entry['round']}" if entry.get("round") else None,
        )
        if part
    )
    return f"{entry.get('seq', '?'):>6}  {when:<19}  {what:<10}  {place or '–':<24}  {'  '.join(_facts(entry))}".rstrip()


def _facts(entry: Entry) -> Iterator[str]:
    if "body_bytes" in entry:
        yield _size(_bytes(entry))
    elif "bytes" in entry:
        yield _size(entry["bytes"])
    if entry.get("tensors"):
        yield (
            tr(f"{entry['tensors']} tensors", f"{entry['tensors']} 个张量")
            + f" {entry.get('payload_format')}"
        )
    if entry.get("norm") is not None:
        yield tr("norm", "范数") + f" {entry['norm']:.4g}"
    if entry.get("scaled", 1.0) != 1.0:
        yield tr(f"scaled by {entry['scaled']:.4g}", f"已缩放至 {entry['scaled']:.4g} 倍")
    if entry.get("epsilon") is not None:
        yield f"ε {entry['epsilon']:.4g}"
    if "policy" in entry:
        yield tr("policy", "策略") + f" {entry.get('policy_version', 0)}/{entry['policy'][:8]}"
    if "reason" in entry:
        yield f"{entry.get('cause', '')}: {' '.join(str(entry['reason']).split())}"
    for key in ("of", "file", "before", "after"):
        if key in entry:
            yield f"{key} {str(entry[key])[:24]}"


def _sums(entries: list[Entry]) -> Iterator[str]:
    """What left altogether, and under which policies."""
    if not entries:
        yield tr("nothing has left yet", "尚无任何外传")
        return
    kinds = Counter(str(entry.get("kind") or entry.get("event")) for entry in entries)
    yield ""
    yield tr(
        f"{len(entries)} entries from {entries[0]['time'][:10]} to {entries[-1]['time'][:10]}: ",
        f"共 {len(entries)} 条，{entries[0]['time'][:10]} 至 {entries[-1]['time'][:10]}：",
    ) + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    left = [entry for entry in entries if "body_bytes" in entry]
    if left:
        spent = next((e["epsilon"] for e in reversed(left) if e.get("epsilon") is not None), None)
        policies = dict.fromkeys(f"{e.get('policy_version', 0)}/{e['policy'][:8]}" for e in left)
        yield tr(
            f"{_size(sum(map(_bytes, left)))} left; policies {', '.join(policies)}; privacy budget spent: ",
            f"外传共 {_size(sum(map(_bytes, left)))}；策略 {', '.join(policies)}；已用隐私预算：",
        ) + (tr("none counted", "未计") if spent is None else f"ε {spent:.4g}")


def _whole(reading: Reading) -> Iterator[str]:
    signed = (
        tr(f"signed by key {reading.key[:16]}…", f"由密钥 {reading.key[:16]}… 签名")
        if reading.key
        else tr("nobody signs it: it shows damage, not ill will", "未签名：只能发现损坏，不能防止蓄意篡改")
    )
    yield tr(
        f"whole: {len(reading.entries)} entries follow each other to the head {reading.head.hash}; {signed}",
        f"完整：{len(reading.entries)} 条记录首尾衔接，日志头 {reading.head.hash}；{signed}",
    )
    for entry in reading.entries:
        if (entry.get("kind") or entry.get("event")) == "key":
            yield tr(
                f"note: from entry {entry['seq']} on it is signed by {entry['after'][:16]}…, before by {entry['before'][:16]}…: "
                "was the key replaced then?",
                f"注意：自第 {entry['seq']} 条起由 {entry['after'][:16]}… 签名，此前为 {entry['before'][:16]}…：当时是否更换过密钥？",
            )


def _bytes(entry: Entry) -> int:
    return int(entry["body_bytes"]) + int(entry["payload_bytes"])


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def signed_by_certificate(pem: bytes) -> str:
    """The public key in a certificate, as a chain names keys. Raises `ValueError` for what is no certificate of an EC key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from emr_fl_shared.kit.keys import openssh

    key = x509.load_pem_x509_certificate(pem).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not an EC key")
    return openssh(key)
