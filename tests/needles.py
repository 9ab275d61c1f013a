"""Find planted values in bytes, in every form in which they might have been written down."""

from __future__ import annotations

import base64
import io
import urllib.parse
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HEAD = 4
"""Bytes of a form by which candidates are found; a shorter form is refused."""


def spellings(value: str) -> set[str]:
    """How a person or a program may write a value: as it is, full width, spaced, with and without separators, in capitals."""
    full = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in value)
    found = {value, full, " ".join(value), "　".join(value), value.upper(), value.lower(), value.swapcase()}
    bare = "".join(letter for letter in value if letter not in " -_.·")
    found.add(bare)
    if bare.isdigit() and len(bare) == 11:
        found |= {f"{bare[:3]}{mark}{bare[3:7]}{mark}{bare[7:]}" for mark in " -."}
    return {form for form in found if form}


def encodings(text: str) -> set[bytes]:
    """A text as bytes: usual encodings, escapes, hexadecimal, and Base64 at each of the three offsets."""
    raw = text.encode()
    found = {raw, text.encode("gb18030"), text.encode("utf-16-le"), text.encode("utf-16-be")}
    escaped = "".join(f"\\u{ord(letter):04x}" if ord(letter) > 127 else letter for letter in text)
    entities = "".join(f"&#{ord(letter)};" if ord(letter) > 127 else letter for letter in text)
    found |= {escaped.encode(), escaped.upper().replace("\\U", "\\u").encode(), entities.encode()}
    found |= {urllib.parse.quote(text).encode(), raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        # without the characters that hold bits of what stands before or after
        whole = slice(-(-shift * 8 // 6), (shift + len(raw)) * 8 // 6)
        found.add(base64.b64encode(bytes(shift) + raw)[whole])
    return {form for form in found if len(form) >= HEAD}


@dataclass
class Needles:
    """Values to look for; `find` names those that bytes hold."""

    values: Iterable[str]
    _forms: dict[int, list[tuple[bytes, str]]] = field(default_factory=dict)
    _searched: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    """Files that were clean, with inode, size and time of change: not read again while they stay as they are."""

    def __post_init__(self) -> None:
        for value in self.values:
            for form in {coded for text in spellings(value) for coded in encodings(text)}:
                head = int.from_bytes(form[:HEAD], "little")
                self._forms.setdefault(head, []).append((form, value))
        self._begin = np.zeros(1 << 24, dtype=bool)  # by the last three bytes of a head
        self._begin[[head >> 8 for head in self._forms]] = True

    def find(self, content: bytes) -> set[str]:
        """The values that `content` holds, also inside of ZIP archives."""
        found = self._find(content)
        if content[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    found |= self.find(archive.read(name)) | self._find(name.encode())
        return found

    def _find(self, content: bytes) -> set[str]:
        found: set[str] = set()
        for offset in range(HEAD):
            usable = (len(content) - offset) // HEAD
            if usable < 1:
                continue
            words = np.frombuffer(content, dtype="<u4", count=usable, offset=offset)
            for index in np.flatnonzero(self._begin[words >> 8]):
                start = offset + int(index) * HEAD
                for form, value in self._forms.get(int(words[index]), ()):
                    if content.startswith(form, start):
                        found.add(value)
        return found

    def in_files(self, folder: Path, besides: Iterable[Path] = ()) -> tuple[dict[str, set[str]], int]:
        """What every file under `folder` and its path hold, by path, and how many files were searched."""
        left_out = tuple(besides)
        found: dict[str, set[str]] = {}
        searched = 0
        for path in sorted(folder.rglob("*")):
            if any(path == other or other in path.parents for other in left_out):
                continue
            hits = self._find(str(path).encode("utf-8", "surrogateescape"))
            try:
                if path.is_file():
                    status = path.stat()
                    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                    searched += 1
                    if self._searched.get(path) != stamp:
                        hits |= self.find(path.read_bytes())
                        if not hits:
                            self._searched[path] = stamp
            except FileNotFoundError:  # a living federation: it was there a moment ago
                continue
            if hits:
                found[str(path.relative_to(folder))] = hits
        return found, searched
