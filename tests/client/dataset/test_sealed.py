"""Sealed files: nothing in the clear, no byte changed unnoticed, one file never taken for another."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.dataset import sealed
from emr_fl_client.dataset.sealed import Unreadable, derive_key, seal, unseal

KEY = b"k" * 32
HEAD = len(sealed.MAGIC) + sealed.SALT_BYTES


def write(path: Path, content: bytes, key: bytes = KEY, purpose: str = "test") -> Path:
    path.write_bytes(b"".join(seal([content], key, purpose)))
    return path


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "CHUNK_BYTES", 16)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("piece", [1, 7, 16, 1000])
def test_what_is_sealed_is_read_back(tmp_path: Path, small_chunks: None, size: int, piece: int) -> None:
    content = bytes(range(256))[:size]
    pieces = [memoryview(content)[at : at + piece] for at in range(0, size, piece)]
    (tmp_path / "f").write_bytes(b"".join(seal(pieces, KEY, "test")))
    assert unseal(tmp_path / "f", KEY, "test") == content
    chunks = max(1, -(-size // 16))
    assert (tmp_path / "f").stat().st_size == HEAD + size + chunks * sealed.TAG_BYTES


def test_more_than_one_real_chunk(tmp_path: Path) -> None:
    content = b"\x00\x01\x02" * (sealed.CHUNK_BYTES - 1)
    assert unseal(write(tmp_path / "f", content), KEY, "test") == content


def test_any_changed_byte_is_noticed(tmp_path: Path, small_chunks: None) -> None:
    path = write(tmp_path / "f", "咳嗽三天，发热一天。".encode() * 2)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Unreadable):
            unseal(path, KEY, "test")


def test_no_shortened_or_lengthened_file_is_believed(tmp_path: Path, small_chunks: None) -> None:
    path = write(tmp_path / "f", b"x" * 48)
    whole = path.read_bytes()
    for other in [*(whole[:end] for end in range(len(whole))), whole + b"\0", whole + whole[HEAD:]]:
        path.write_bytes(other)
        with pytest.raises(Unreadable):
            unseal(path, KEY, "test")


@given(order=st.permutations(range(4)), drop=st.integers(0, 4))
def test_chunks_can_not_be_rearranged(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], drop: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "CHUNK_BYTES", 16)
        path = write(tmp_path_factory.mktemp("f") / "f", b"x" * 64)
        whole = path.read_bytes()
        step = 16 + sealed.TAG_BYTES
        chunks = [whole[at : at + step] for at in range(HEAD, len(whole), step)]
        kept = order[: len(order) - drop]
        path.write_bytes(whole[:HEAD] + b"".join(chunks[number] for number in kept))
        if kept == [0, 1, 2, 3]:
            assert unseal(path, KEY, "test") == b"x" * 64
        else:
            with pytest.raises(Unreadable):
                unseal(path, KEY, "test")


@pytest.mark.parametrize(
    ("key", "purpose"),
    [
        pytest.param(b"j" * 32, "test", id="another key"),
        pytest.param(KEY, "tests", id="another purpose"),
        pytest.param(KEY[:-1], "test", id="half a key"),
    ],
)
def test_only_the_same_key_and_purpose_open_it(tmp_path: Path, key: bytes, purpose: str) -> None:
    path = write(tmp_path / "f", b"content")
    with pytest.raises(Unreadable):
        unseal(path, key, purpose)


def test_the_same_content_never_gives_the_same_bytes() -> None:
    first, second = (b"".join(seal([b"content"], KEY, "test")) for _ in range(2))
    assert first[HEAD:] != second[HEAD:] and first[16:HEAD] != second[16:HEAD]


def test_no_nonce_comes_twice_under_a_key(monkeypatch: pytest.MonkeyPatch, small_chunks: None) -> None:
    used: list[tuple[bytes, bytes]] = []

    class Watched:
        def __init__(self, key: bytes) -> None:
            self.key, self.real = key, AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
            used.append((self.key, nonce))
            return self.real.encrypt(nonce, data, bound)

    monkeypatch.setattr(sealed, "AESGCM", Watched)
    for _ in range(3):
        b"".join(seal([b"x" * 100], KEY, "test"))
    assert len(used) == len(set(used)) == 3 * 7
    assert len({key for key, _ in used}) == 3
    assert all(first[1] != second[1] for first, second in pairwise(used[:7]))


def test_keys_of_other_purposes_are_other_keys() -> None:
    assert len({derive_key(KEY, "a"), derive_key(KEY, "b"), derive_key(KEY, "a", b"s"), KEY}) == 4
    with pytest.raises(ValueError):
        derive_key(b"", "a")


def test_the_format_is_what_the_documentation_says(tmp_path: Path) -> None:
    """Opened with nothing but the description: HKDF-SHA256, salt after the magic, nonce = number and last."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    whole = write(tmp_path / "f", b"content").read_bytes()
    key = HKDF(SHA256(), 32, whole[16:48], b"emr-fl|test").derive(KEY)
    assert AESGCM(key).decrypt(bytes(11) + b"\x01", whole[48:], whole[:16] + b"test") == b"content"
