"""Signatures are tied to what they were made for."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit import BUNDLE_DOMAIN, KIT_DOMAIN, SITES_DOMAIN, sign_bytes, verify_bytes
from emr_fl_shared.kit.signing import parse_signatures, signature_text, verify_signed_file

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNATURE = sign_bytes(KEY, BUNDLE_DOMAIN, b"bundle")


def test_signature_of_today_is_that_of_tomorrow() -> None:
    """Ed25519 is deterministic (RFC 8032); a change of domain or form would refuse every kit that is out there."""
    assert KEY.sign(b"emr-fl bundle 1\nbundle") == SIGNATURE
    verify_bytes(KEY.public_key(), BUNDLE_DOMAIN, b"bundle", SIGNATURE, where="x")


@pytest.mark.parametrize(
    ("domain", "data", "signature"),
    [
        pytest.param(KIT_DOMAIN, b"bundle", SIGNATURE, id="another domain"),
        pytest.param(SITES_DOMAIN, b"bundle", SIGNATURE, id="a third domain"),
        pytest.param(BUNDLE_DOMAIN, b"bundle ", SIGNATURE, id="other data"),
        pytest.param(BUNDLE_DOMAIN, b"bundle", SIGNATURE[:-1], id="short"),
        pytest.param(BUNDLE_DOMAIN, b"bundle", b"", id="empty"),
        pytest.param(BUNDLE_DOMAIN, b"bundle", bytes(64), id="zeros"),
    ],
)
def test_refused(domain: bytes, data: bytes, signature: bytes) -> None:
    with pytest.raises(PolicyError, match="x: the federation's signature does not fit"):
        verify_bytes(KEY.public_key(), domain, data, signature, where="x")


@pytest.mark.parametrize("domain", [b"", b"no newline", b"two\nlines\n"])
def test_a_domain_is_one_line(domain: bytes) -> None:
    with pytest.raises(ValueError, match="one line"):
        sign_bytes(KEY, domain, b"")


def test_a_file_may_carry_the_signature_of_the_one_before() -> None:
    new = sign_bytes(KEY, BUNDLE_DOMAIN, b"new")
    text = signature_text([new, SIGNATURE])
    for data in (b"new", b"bundle"):
        verify_signed_file(KEY.public_key(), BUNDLE_DOMAIN, data, text, where="x")
    with pytest.raises(PolicyError):
        verify_signed_file(KEY.public_key(), BUNDLE_DOMAIN, b"older", text, where="x")
    assert parse_signatures(text * 9) == [new, SIGNATURE]  # no more than two are looked at


@pytest.mark.parametrize("text", [b"", b"\n", b"x" * 88, b"AAAA\n", b"\xff\xfe", b"=\n"])
def test_what_is_no_signature_file_holds_none(text: bytes) -> None:
    assert parse_signatures(text) == []
