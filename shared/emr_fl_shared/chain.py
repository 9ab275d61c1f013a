"""A log that shows every change: JSON lines, each with the hash of the line before it, and beside them a head.

`NAME.jsonl` holds the entries: `seq` counts from 1, `previous` is the SHA-256 of the line before (64 zeros for the first).
`NAME.head.json` says how many entries there are, how many bytes they take and what the last one hashes to; where there is a key, the
head is signed with it (ECDSA with SHA-384 over a domain and the head's own bytes). So a line that was changed, left out, put in or moved does not
follow from the one before it, and a log that was cut off does not reach its head.

Order of writing: the line, fsync, the head, fsync; only then `append` returns. What lies behind the head's last byte was
therefore never acted upon: a power cut left it there. It is moved to a file of its own and noted as an entry of its own.

Whoever holds the key can write another log, and whoever can put back an older log together with its older head goes back to that
day: compare with what the other side wrote down of the same messages (`sha256`), or with a head that was written down elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_shared.durable import fsync_folder, storage_error, write_durably
from emr_fl_shared.errors import DataError, PolicyError, StorageError
from emr_fl_shared.kit.keys import fingerprint_of, openssh
from emr_fl_shared.kit.signing import CHAIN_DOMAIN, own_key_signed, sign_with_own_key
from emr_fl_shared.locks import in_turn
from emr_fl_shared.messages import tr

NOTHING = "0" * 64
"""What the first entry follows."""
TIME = "%Y-%m-%dT%H:%M:%S%z"
Entry = dict[str, Any]
_HEAD_LIMIT = 4096


def local_now() -> datetime:
    """The machine's clock, with its offset."""
    return datetime.now().astimezone()


class Signer:
    """A private key that signs heads; `public` names it (one line of OpenSSH text)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = openssh(key.public_key())

    def sign(self, data: bytes) -> str:
        """Base64 of the signature in the chain's domain."""
        return sign_with_own_key(self._key, CHAIN_DOMAIN, data)


@dataclass(frozen=True)
class Head:
    """Where a log ends: `seq` entries in `size` bytes, the last of which is `last` bytes long and hashes to `hash`."""

    log: str
    seq: int = 0
    size: int = 0
    last: int = 0
    hash: str = NOTHING
    key: str = ""
    """The public key that signed; empty in a log that nobody signs."""

    def signed_bytes(self) -> bytes:
        return json.dumps(vars(self), sort_keys=True, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Reading:
    """A log as it was found: its entries, and what is wrong with it, a line each (none if it is whole)."""

    head: Head
    entries: list[Entry] = field(repr=False)
    problems: list[str]

    @property
    def key(self) -> str:
        """Fingerprint of the key that signed the head; empty if nobody signs."""
        return key_fingerprint(self.head.key)


class Chain:
    """The log at `path`, appended to by one process at a time; `word` is the key under which an entry says what it is.

    Old logs of plain lines are put aside as `NAME.before.jsonl`, which the first entry names with its digest.
    """

    def __init__(
        self,
        path: Path,
        log: str,
        signer: Signer | None = None,
        *,
        word: str = "kind",
        clock: Callable[[], datetime] = local_now,
    ) -> None:
        self.path = path
        self._log = log
        self._signer = signer
        self._word = word
        self._clock = clock

    def append(self, what: str, details: Mapping[str, Any]) -> Entry:
        """Write an entry; it and the head are on disk when this returns.

        Raises `StorageError` (nothing was written then) and `PolicyError` if the log does not end where its head says.
        """
        with self._turn():
            return self._write(self._ready(), what, details)

    def entries(self) -> list[Entry]:
        """All entries, every one checked. Raises `PolicyError` if any of them, or the head, is not as it was written."""
        with self._turn():
            self._ready()
            found = _read(self.path, None)
        if found.problems:
            raise damaged(self.path, found.problems)
        return found.entries

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        return in_turn(_lock(self.path))

    def _ready(self) -> Head:
        """The head, once what a crash left behind it is out of the way and the key is ours."""
        head = self._found() or self._begin()
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < head.size or (head.size and self._last_hash(head) != head.hash):
            raise damaged(self.path, [_does_not_end(head, size)])
        if head.key != self._public:
            if not self._public:
                raise damaged(
                    self.path, [tr("it is signed, and there is no key here", "日志有签名，而此处没有密钥")]
                )
            names = {"before": key_fingerprint(head.key), "after": key_fingerprint(self._public)}
            head = self._put_aside(head, size)
            self._write(head, "key", names)
            return _head_of(self.path)[0]
        return self._put_aside(head, size)

    @property
    def _public(self) -> str:
        return self._signer.public if self._signer is not None else ""

    def _found(self) -> Head | None:
        if not head_path(self.path).exists():
            return None
        head, problems = _head_of(self.path)
        if head.log != self._log:
            problems.append(tr("it is the log of ", "这是另一方的日志：") + head.log[:80])
        if problems:
            raise damaged(self.path, problems)
        return head

    def _begin(self) -> Head:
        """The head of an empty log; lines of a time before there were heads are put aside."""
        before = self.path.with_name(f"{self.path.stem}.before{self.path.suffix}")
        old = b""
        try:
            if self.path.exists() and (old := self.path.read_bytes()):
                if b'"previous"' in old.split(b"\n", 1)[0]:
                    raise damaged(self.path, [tr("its head is gone", "日志头文件缺失")])
                if before.exists():
                    raise damaged(self.path, [tr(f"{before.name} is there already", f"{before.name} 已存在")])
                os.replace(self.path, before)
                fsync_folder(self.path.parent)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        head = Head(self._log, key=self._public)
        self._write_head(head)
        if old:
            facts = {
                "file": before.name,
                "lines": old.count(b"\n"),
                "sha256": hashlib.sha256(old).hexdigest(),
            }
            self._write(head, "began", facts)
            head, _ = _head_of(self.path)
        return head

    def _put_aside(self, head: Head, size: int) -> Head:
        """What lies behind the head's last byte, moved to a file of its own and noted."""
        if size == head.size:
            return head
        torn = self.path.with_name(f"{self.path.name}.torn-{head.seq + 1}")
        try:
            with self.path.open("r+b") as file:
                file.seek(head.size)
                rest = file.read()
                write_durably(torn, [rest])
                file.truncate(head.size)
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        facts = {"file": torn.name, "bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}
        self._write(head, "recovered", facts)
        return _head_of(self.path)[0]

    def _last_hash(self, head: Head) -> str:
        with self.path.open("rb") as file:
            file.seek(head.size - head.last)
            return _hash(file.read(head.last))

    def _write(self, head: Head, what: str, details: Mapping[str, Any]) -> Entry:
        entry: Entry = {
            "seq": head.seq + 1,
            "time": self._clock().strftime(TIME),
            self._word: what,
            **details,
            "previous": head.hash,
        }
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        following = Head(self._log, head.seq + 1, head.size + len(line), len(line), _hash(line), self._public)
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                try:
                    if os.write(descriptor, line) < len(line):  # the last free bytes of the disk took a part
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(descriptor)
                    self._write_head(following)
                except (OSError, StorageError):
                    os.ftruncate(descriptor, head.size)
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        return entry

    def _write_head(self, head: Head) -> None:
        signature = self._signer.sign(head.signed_bytes()) if self._signer is not None else ""
        write_durably(head_path(self.path), [_head_text(head, signature)])


def read_chain(path: Path, *, public: str | None = None) -> Reading:
    """The log at `path` and everything that is wrong with it. `public`: the key that must have signed it (OpenSSH text).

    Waits for a process that is writing it. Raises `DataError` if there is no log, or it can't be read.
    """
    with in_turn(_lock(path)) if _lock(path).exists() else contextlib.nullcontext():
        return _read(path, public)


def _read(path: Path, public: str | None) -> Reading:
    try:
        if not path.exists() and not head_path(path).exists():
            raise DataError(
                tr("no such log", "没有这个日志"), where=str(path), do=tr("check the path", "请检查路径")
            )
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise DataError(
            tr("can't be read", "无法读取"), where=str(path), got=error.strerror or type(error).__name__
        ) from None
    head, problems = _head_of(path)
    usable = not problems
    if public is not None and key_fingerprint(head.key) != key_fingerprint(public):
        problems.append(
            tr("signed with another key: ", "由其他密钥签名：")
            + (key_fingerprint(head.key)[:16] or "-")
            + tr(", expected ", "，应为 ")
            + key_fingerprint(public)[:16]
        )
    entries, wrong, hashed = _follow(data[: head.size] if usable else data)
    problems += wrong
    if usable and (len(data) < head.size or len(entries) != head.seq or hashed != head.hash):
        problems.append(_does_not_end(head, len(data)))
    if usable and len(data) > head.size:
        problems.append(
            tr(
                f"{len(data) - head.size} bytes after the last signed entry: nothing of them was acted upon "
                "(a power cut, or put in afterwards); they are put aside when the log is next written",
                f"最后一条已确认记录之后还有 {len(data) - head.size} 字节：其内容未曾执行（断电所致，或事后添加）；下次写入时会移至一旁",
            )
        )
    return Reading(head, entries, problems)


def head_path(path: Path) -> Path:
    """Where a log's head lies."""
    return path.with_name(f"{path.stem}.head.json")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def key_fingerprint(public: str) -> str:
    """How a key in OpenSSH text is named; empty for none, or for what is no key."""
    key = _key(public)
    return fingerprint_of(key) if key is not None else ""


def damaged(path: Path, problems: list[str]) -> PolicyError:
    """The error for a log that is not as it was written."""
    return PolicyError(
        tr("the audit log is not as it was written", "审计日志与写入时不符"),
        where=str(path),
        got="; ".join(problems),
        do=tr(
            "keep it as it is, find out who changed it, then restore log and head from one backup",
            "请保持原样，查明何人改动，然后从同一备份恢复日志与日志头",
        ),
    )


def _follow(data: bytes) -> tuple[list[Entry], list[str], str]:
    """The entries in whole lines, what does not follow from the line before it, and the hash of the last line."""
    entries: list[Entry] = []
    problems: list[str] = []
    before = NOTHING
    for number, line in enumerate(_lines(data), 1):
        entry = _entry(line)
        if entry is None:
            problems.append(tr(f"line {number} is no entry", f"第 {number} 行不是记录"))
        else:
            entries.append(entry)
            if entry.get("previous") != before:
                problems.append(
                    tr(
                        f"line {number} does not follow from the one before it: changed, left out, put in or moved",
                        f"第 {number} 行与前一行不衔接：被改动、删除、插入或调换",
                    )
                )
        before = _hash(line)
    return entries, problems, before


def _lines(data: bytes) -> list[bytes]:
    """Cut after each newline and nowhere else."""
    whole, _, rest = data.rpartition(b"\n")
    lines = [line + b"\n" for line in whole.split(b"\n")] if len(data) > len(rest) else []
    return [*lines, rest] if rest else lines


def _entry(line: bytes) -> Entry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _head_of(path: Path) -> tuple[Head, list[str]]:
    """The head beside a log, and what is wrong with it; where it can't be understood, that of an empty log."""
    file = head_path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(_HEAD_LIMIT + 1)
    except FileNotFoundError:
        return Head(""), [tr("its head is gone", "日志头文件缺失")]
    except OSError as error:
        return Head(""), [f"{file.name}: {error.strerror or type(error).__name__}"]
    wrong = [tr("its head was changed", "日志头文件被改动")]
    try:
        fields = json.loads(data)
        signature = fields.pop("signature")
        head = Head(**fields)
        kinds = (("log", str), ("hash", str), ("key", str), ("seq", int), ("size", int), ("last", int))
        if any(type(getattr(head, name)) is not kind for name, kind in kinds) or head.last > head.size:
            return Head(""), wrong
        if data != _head_text(head, signature):
            return head, wrong
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Head(""), wrong
    if not head.key:
        return head, wrong if signature else []
    key = _key(head.key)
    if key is None:
        return head, wrong
    if not own_key_signed(key, CHAIN_DOMAIN, head.signed_bytes(), signature):
        return head, [tr("its head's signature does not fit", "日志头的签名不符")]
    return head, []


def _head_text(head: Head, signature: str) -> bytes:
    return json.dumps({**vars(head), "signature": signature}, ensure_ascii=False).encode() + b"\n"


def _key(public: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = serialization.load_ssh_public_key(public.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _does_not_end(head: Head, size: int) -> str:
    return tr(
        f"it does not end where its head says: {head.seq} entries in {head.size} bytes ({size} are there)",
        f"日志结尾与日志头不符：应有 {head.seq} 条、{head.size} 字节（实有 {size}）",
    )


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
