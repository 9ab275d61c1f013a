"""Shares, masks, agreed keys and signatures by themselves, against slow oracles and published vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_shared.secure_aggregation import agreement, sharing, statements
from emr_fl_shared.secure_aggregation.masking import KeyStream

SECRET = bytes(range(32))


def multiply(left: int, right: int) -> int:
    """Product in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1, bit by bit."""
    product = 0
    for bit in range(128):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(254, 127, -1):
        if product >> bit & 1:
            product ^= (1 << 128 | 0b10000111) << (bit - 128)
    return product


def inverse(value: int) -> int:
    """value^(2^128 − 2)."""
    result = 1
    for bit in bin(2**128 - 2)[2:]:
        result = multiply(result, result)
        if bit == "1":
            result = multiply(result, value)
    return result


def interpolated(shares: dict[int, bytes]) -> bytes:
    """The polynomial through the shares at 0 (Lagrange)."""
    secret = 0
    for member, share in shares.items():
        top, bottom = 1, 1
        for other in shares:
            if other != member:
                top = multiply(top, other + 1)
                bottom = multiply(bottom, (other + 1) ^ (member + 1))
        secret ^= multiply(int.from_bytes(share, "big"), multiply(top, inverse(bottom)))
    return secret.to_bytes(16, "big")


def test_any_threshold_of_the_shares_open_the_secret_as_the_oracle_does() -> None:
    shares = sharing.split(SECRET, 3, 5)
    for chosen in itertools.combinations(range(5), 3):
        some = {member: shares[member] for member in chosen}
        assert sharing.join(some, 3) == SECRET
        halves = [interpolated({m: s[b : b + 16] for m, s in some.items()}) for b in (0, 16)]
        assert b"".join(halves) == SECRET


def test_fewer_shares_open_nothing() -> None:
    shares = sharing.split(SECRET, 3, 5)
    with pytest.raises(ValueError, match="too few"):
        sharing.join({0: shares[0], 4: shares[4]}, 3)
    # and if one treats two as enough, what comes out is not the secret
    assert sharing.join({0: shares[0], 4: shares[4]}, 2) != SECRET


@pytest.mark.parametrize(("secret", "threshold"), [(b"short", 2), (SECRET, 6), (SECRET, 0)])
def test_what_can_not_be_shared_is_refused(secret: bytes, threshold: int) -> None:
    with pytest.raises(ValueError):
        sharing.split(secret, threshold, 5)


def chacha20(key: bytes, count: int) -> bytes:
    """RFC 8439, section 2.3, written down: the first `count` bytes of the key stream, nonce and counter 0."""

    def quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
        for one, two, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[one] = (state[one] + state[two]) & 0xFFFFFFFF
            value = state[three] ^ state[one]
            state[three] = (value << turn | value >> (32 - turn)) & 0xFFFFFFFF

    words = [int.from_bytes(key[4 * i : 4 * i + 4], "little") for i in range(8)]
    stream = b""
    for block in range(-(-count // 64)):
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *words, block, 0, 0, 0]
        state = list(start)
        for _ in range(10):
            for column in range(4):
                quarter(state, column, 4 + column, 8 + column, 12 + column)
            for diagonal in range(4):
                quarter(
                    state, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4
                )
        stream += b"".join(
            ((left + right) & 0xFFFFFFFF).to_bytes(4, "little")
            for left, right in zip(state, start, strict=True)
        )
    return stream[:count]


def test_a_mask_is_the_key_stream_whatever_the_arrays_it_runs_through() -> None:
    expected = np.frombuffer(chacha20(SECRET, 4 * 500), "<u4")
    parts = [np.zeros(shape, np.uint32) for shape in ((7,), (3, 11), (), (0,), (459,))]
    stream = KeyStream(SECRET)
    for part in parts:
        stream.apply(part, 1)
    np.testing.assert_array_equal(np.concatenate([part.reshape(-1) for part in parts]), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_what_one_adds_the_other_takes_away(dtype: type) -> None:
    values = np.arange(700_000, dtype=dtype)
    masked = values.copy()
    KeyStream(SECRET).apply(masked, 1)
    assert (masked == values).mean() < 0.001
    KeyStream(SECRET).apply(masked, -1)
    np.testing.assert_array_equal(masked, values)


def test_a_mask_is_not_put_on_a_copy() -> None:
    with pytest.raises(ValueError, match="in place"):
        KeyStream(SECRET).apply(np.zeros((8, 8), np.uint32).T[::2], 1)


def test_two_members_agree_for_one_purpose_only() -> None:
    a, b = agreement.new_private_key(), agreement.new_private_key()
    one = agreement.agreed_key(a, agreement.public_key(b), b"x")
    assert one == agreement.agreed_key(b, agreement.public_key(a), b"x")
    assert one != agreement.agreed_key(a, agreement.public_key(b), b"y")
    with pytest.raises(ValueError):
        agreement.agreed_key(a, bytes(32), b"x")  # a point of small order


def test_only_the_recipient_opens_what_was_sealed() -> None:
    sealed = agreement.seal_shares(SECRET, b"content", b"bound")
    assert agreement.open_shares(SECRET, sealed, b"bound") == b"content"
    for key, text, bound in (
        (bytes(32), sealed, b"bound"),
        (SECRET, sealed, b"other"),
        (SECRET, sealed[:-4] + "AAAA", b"bound"),
        (SECRET, "not base64!", b"bound"),
        (SECRET, "", b"bound"),
    ):
        assert agreement.open_shares(key, text, bound) is None


def test_a_signature_fits_its_statement_and_domain_only() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    signature = statements.sign(key, statements.KEYS_DOMAIN, {"a": 1})
    public = key.public_key()
    assert statements.fits(public, statements.KEYS_DOMAIN, {"a": 1}, signature)
    assert not statements.fits(public, statements.CONSENT_DOMAIN, {"a": 1}, signature)
    assert not statements.fits(public, statements.KEYS_DOMAIN, {"a": 2}, signature)
    assert not statements.fits(public, statements.KEYS_DOMAIN, {"a": 1}, "rubbish")
