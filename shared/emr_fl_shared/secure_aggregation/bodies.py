"""The messages of a session, in their order. Every reply is small but the masked one; all are bounded by `wire.MAX_BODY_BYTES`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emr_fl_shared.secure_aggregation.parameters import MOST_MEMBERS, Parameters
from emr_fl_shared.wire import Body, Name, TrainReply, TrainRequest

KEYS = "query.secure_keys"
SHARES = "query.secure_shares"
MASKED = "train.masked"
CONSENT = "query.secure_consent"
REVEAL = "query.secure_reveal"

Round = Annotated[int, Field(ge=1)]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(max_length=200)]
"""Base64 of an ECDSA signature in DER."""
Sealed = Annotated[str, Field(max_length=160)]
Names = Annotated[list[Name], Field(max_length=MOST_MEMBERS)]


class SecureBody(Body):
    """What every message of a session names."""

    round: Round
    session: SessionId


class SecureReply(SecureBody):
    """Site → coordinator."""

    site: Name


class Advertisement(Body):
    """A member's public keys of one session and the commitment to its seed, signed with its node key."""

    site: Name
    cipher_key: Hex32
    mask_key: Hex32
    commitment: Hex32
    signature: Signature


class KeysRequest(SecureBody):
    """Coordinator → site: who takes part in a session of this round?"""

    kind: Literal["secure_keys"] = "secure_keys"
    run: Name
    parameters: Parameters


class KeysReply(SecureReply):
    kind: Literal["secure_keys_advertised"] = "secure_keys_advertised"
    advertisement: Advertisement


class SharesRequest(SecureBody):
    """Coordinator → site: these take part; share your secrets among them. The registry says whose keys these are."""

    kind: Literal["secure_shares"] = "secure_shares"
    advertisements: Annotated[list[Advertisement], Field(max_length=MOST_MEMBERS)]
    registry: Annotated[str, Field(max_length=2 * 2**20)]
    registry_signature: Annotated[str, Field(max_length=1024)]


class SharesReply(SecureReply):
    kind: Literal["secure_shares_made"] = "secure_shares_made"
    sealed: Annotated[dict[Name, Sealed], Field(max_length=MOST_MEMBERS)]
    """Recipient → its shares, which nobody else can read."""


class MaskedRequest(SecureBody):
    """Coordinator → site, with the global model as payload: train, and send the difference masked."""

    kind: Literal["masked"] = "masked"
    shares: Annotated[
        dict[Name, Annotated[dict[Name, Sealed], Field(max_length=MOST_MEMBERS)]],
        Field(max_length=MOST_MEMBERS),
    ]
    """Sender → recipient → shares, of all who shared: these are the members whose pairwise masks are in force."""
    weighting: Literal["examples", "even", "effective_labels"]
    label_tensors: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=64)]
    """Tensors with a row per label that are averaged over the sites that moved it."""
    train: TrainRequest


class MaskedReply(SecureReply):
    """Site → coordinator, with the masked vector as payload."""

    kind: Literal["trained_masked"] = "trained_masked"
    sha256: Hex32
    """Of the payload."""
    norm_bound: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """The site's word that the L2 norm of its difference is at most this."""
    signature: Signature
    trained: TrainReply


class ConsentRequest(SecureBody):
    """Coordinator → site: these answered with a masked vector."""

    kind: Literal["secure_consent"] = "secure_consent"
    survivors: Names


class ConsentReply(SecureReply):
    kind: Literal["secure_consented"] = "secure_consented"
    signature: Signature


class RevealRequest(SecureBody):
    """Coordinator → site: your shares, please; against a hostile server only with the others' signatures on the same list."""

    kind: Literal["secure_reveal"] = "secure_reveal"
    survivors: Names
    consents: Annotated[dict[Name, Signature], Field(max_length=MOST_MEMBERS)]


class RevealReply(SecureReply):
    """Shares of the survivors' seeds and of the others' mask keys: never both of one member."""

    kind: Literal["secure_revealed"] = "secure_revealed"
    seeds: Annotated[dict[Name, Hex32], Field(max_length=MOST_MEMBERS)]
    mask_keys: Annotated[dict[Name, Hex32], Field(max_length=MOST_MEMBERS)]
