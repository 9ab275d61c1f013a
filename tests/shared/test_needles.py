"""The search that the leak tests rely on finds what it should."""

from __future__ import annotations

import base64
import io
import json
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from needles import Needles

VALUES = ("欧阳筱珺", "13871234567", "420606198803070418", "wang.xq@example.cn")


def zipped(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", f"before {text} after")
    return packed.getvalue()


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "gb18030": lambda text: text.encode("gb18030"),
    "utf-16": lambda text: text.encode("utf-16-le"),
    "json": lambda text: json.dumps(text).encode(),
    "percent": lambda text: urllib.parse.quote(text).encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "base64": lambda text: base64.b64encode(f"one {text} two".encode()),
    "base64, another place": lambda text: base64.b64encode(f"four {text} two".encode()),
    "base64, a third place": lambda text: base64.b64encode(f"three {text} two".encode()),
    "zip": zipped,
    "spaced": lambda text: " ".join(text).encode(),
    "full width": lambda text: "".join(
        chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text
    ).encode(),
    "capitals": lambda text: text.upper().encode(),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"], ids=len)
def test_found_in_every_form_and_place(value: str, how: str, before: bytes) -> None:
    written = WRITTEN[how](value)
    content = written if how == "zip" else before + written + b" and more"
    assert Needles(VALUES).find(content) == {value}


def test_separators() -> None:
    assert Needles(VALUES).find(b"call 138-7123-4567") == {"13871234567"}


@pytest.mark.parametrize("content", [b"", b"x", "欧阳筱".encode(), b"1387123456", bytes(100)], ids=len)
def test_nothing_else_is_found(content: bytes) -> None:
    assert not Needles(VALUES).find(content)


def test_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"harmless")
    (tmp_path / "b").write_bytes("电话13871234567".encode())
    (tmp_path / "13871234567.txt").write_bytes(b"harmless")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "c").write_bytes("欧阳筱珺".encode())
    found, searched = Needles(VALUES).in_files(tmp_path, [tmp_path / "source"])
    assert found == {"b": {"13871234567"}, "13871234567.txt": {"13871234567"}}
    assert searched == 3
