"""Prepared records on disk, sealed, so that a restart or the next run does not de-identify the same records again.

An entry holds what training reads: de-identified texts, labels, pseudonyms and months; never raw text. Its name is a keyed digest of
everything that decides its content: the records as they were read (whatever kind of source they come from), the label set, the
site's settings, and the code, word lists and recognisers that prepare them. What changes there gives another name, so an entry is
right or not found. An entry that can't be read or whose seal is broken counts as not there: unlike the ledger it can be made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emr_fl_shared
from emr_fl_client.dataset.sealed import Unreadable, derive_key, seal, unseal
from emr_fl_shared.deidentify import recognisers
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.preparation import Prepared
from emr_fl_shared.records import Record
from emr_fl_shared.tensorfile import TensorReader, serialise

MAX_ENTRY_BYTES = 4 * 2**30
"""A larger entry is not kept. The newest entry only stays, so this bounds what the cache takes."""
_PREFIX, _SUFFIX = "prepared-", ".sealed"
_FORMAT = "1"


class PreparedCache:
    """At most one entry in `folder`, sealed with `key`. Whoever uses it holds the folder's lock."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    def name(
        self,
        records: Iterable[Record],
        skipped: Mapping[str, int],
        taxonomy: Taxonomy,
        settings: Mapping[str, Any],
    ) -> str:
        """The name of the entry for these records, as read, with the rows left out by reason, prepared with these settings."""
        digest = hmac.new(derive_key(self._key, "cache name"), digestmod=hashlib.sha256)
        about = {
            "format": _FORMAT,
            "preparation": preparation_version(),
            "recognisers": recognisers_version(),
            "taxonomy": taxonomy.checksum,
            "skipped": dict(skipped),
            "settings": dict(settings),
        }
        digest.update(json.dumps(about, sort_keys=True, default=str).encode() + b"\n")
        for record in records:
            # repr of strings and tuples of them is unambiguous, and escapes what UTF-8 can't hold
            digest.update(repr(record.content()).encode("utf-8", "backslashreplace") + b"\n")
        return digest.hexdigest()[:32]

    def find(self, name: str) -> Prepared | None:
        """The entry of this name; `None` if there is none or it is damaged."""
        try:
            content = unseal(self._path(name), self._key, _purpose(name))
        except (Unreadable, OSError):
            return None
        return _unpacked(content)

    def has(self, name: str | None = None) -> bool:
        """Whether there is an entry of this name, or any entry at all, whatever its state."""
        return self._path(name).exists() if name is not None else bool(self._entries())

    def keep(self, name: str, prepared: Prepared) -> bool:
        """Replace all entries by this one; `False` if it is too large, and then none is left.

        Raises `StorageError` if it can't be written.
        """
        self.discard(besides=name)
        tensors, about = _packed(prepared)
        if sum(tensor.nbytes for tensor in tensors.values()) > MAX_ENTRY_BYTES:
            self.discard()
            return False
        write_durably(self._path(name), seal(serialise(tensors, about), self._key, _purpose(name)))
        return True

    def discard(self, besides: str | None = None) -> None:
        """Delete entries, as far as they can be deleted."""
        for path in self._entries():
            if besides is None or path != self._path(besides):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _entries(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*{_SUFFIX}"))

    def _path(self, name: str) -> Path:
        return self._folder / f"{_PREFIX}{name}{_SUFFIX}"


@cache
def preparation_version() -> str:
    """SHA-256 (hex) of all code and word lists that both sides share, and of what Python knows of Unicode.

    Far too much, so that nothing is forgotten: a new version of this package prepares all records once again.
    """
    root = Path(emr_fl_shared.__file__).parent
    digest = hashlib.sha256(f"{sys.version_info[:2]} {unicodedata.unidata_version}".encode())
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"\n{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def recognisers_version() -> list[str]:
    """The registered recognisers, a line each: name, the digest of the module that it comes from, and its own `version`, if it has one
    (a recogniser that rests on more than its module's text, such as a model's weights, says so there)."""
    lines = []
    for recogniser in recognisers():
        module = sys.modules[type(recogniser).__module__]
        file = getattr(module, "__file__", None)
        source = Path(file).read_bytes() if file else b""
        version = getattr(recogniser, "version", "")
        lines.append(f"{recogniser.name} {hashlib.sha256(source).hexdigest()} {version}")
    return lines


def _purpose(name: str) -> str:
    return f"prepared records|{name}"


def _packed(prepared: Prepared) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    tensors: dict[str, NDArray[Any]] = {
        "labels": np.packbits(prepared.labels, axis=1),
        "months": prepared.months,
    }
    for name, values in (("texts", prepared.texts), ("patients", prepared.patients)):
        # ends count characters, so that one decoding of everything gives the pieces
        tensors[f"{name}.ends"] = np.cumsum([len(value) for value in values], dtype=np.int64)
        tensors[name] = np.frombuffer("".join(values).encode("utf-8", "surrogatepass"), dtype=np.uint8)
    about = {
        "label_count": prepared.labels.shape[1],
        "identifiers": prepared.identifiers,
        "dropped": prepared.dropped,
        "unmapped": prepared.unmapped,
        "leaks": prepared.leaks,
    }
    return tensors, {"about": json.dumps(about, ensure_ascii=False)}


def _unpacked(content: bytes) -> Prepared:
    """The inverse of `_packed`; `content` is authenticated: it is what this module wrote."""
    with TensorReader(content) as reader:
        about = json.loads(reader.metadata["about"])
        labels = np.unpackbits(reader.read("labels"), axis=1, count=about["label_count"]).view(np.bool_)
        return Prepared(
            _strings(reader, "texts"),
            labels,
            _strings(reader, "patients"),
            reader.read("months"),
            Counter(about["identifiers"]),
            Counter(about["dropped"]),
            Counter(about["unmapped"]),
            about["leaks"],
        )


def _strings(reader: TensorReader, name: str) -> list[str]:
    whole = reader.read(name).tobytes().decode("utf-8", "surrogatepass")
    ends: Sequence[int] = reader.read(f"{name}.ends").tolist()
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
