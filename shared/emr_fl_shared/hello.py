"""What a site and the server's gateway say to each other before Flower does: who is there, and if not, why not.

Flower answers a node that may not join with a number, and one whose clock is wrong not at all. So a site asks first, over
the same port and the same TLS: `POST /v1/emr-fl/hello` with a JSON body signed by the node's key. The reply says in
which standing the key is, what the server's clock shows, and which versions run there. A key that is not registered learns
nothing but that.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr

HELLO_PATH = "/v1/emr-fl/hello"
PROBE_PATH = "/v1/emr-fl/probe"
SIGNATURE_HEADER = "emr-fl-signature"
HELLO_LIMIT = 16 * 1024
PROBE_BYTES = 4 * 2**20
"""Most bytes of one measurement of the line."""

HELLO_DOMAIN = b"emr-fl hello 1\n"
EARLIEST_SECONDS, LATEST_SECONDS = -5.0, 305.0
"""How far a signed time may lie behind the server's clock; Flower's own window, checked here so that it can be said."""

Standing = Literal["registered", "revoked", "expired", "not yet valid", "clock"]
Phase = Literal["starting", "waiting", "training", "evaluating", "finished", "stopped"]


class Hello(BaseModel):
    """Site → gateway. `incarnation` is drawn anew for every start of the site's node."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: Literal[1] = 1
    public_key: Annotated[str, Field(max_length=4096)]
    time: AwareDatetime
    incarnation: Annotated[str, Field(pattern=r"^[0-9a-f]{0,32}$")] = ""
    emr_fl: Annotated[str, Field(max_length=64)]
    flwr: Annotated[str, Field(max_length=64)]


class HelloReply(BaseModel):
    """Gateway → site."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    federation_id: str
    site: str
    standing: Standing
    node: str = ""
    """The id of the site's node at Flower, where it has one."""
    node_silent: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds since the site's node asked for anything; since the gateway started if it never did."""
    time: AwareDatetime
    emr_fl: str
    flwr: str
    phase: Phase = "starting"
    round: int = 0
    rounds: int = 0


def sign_hello(key: ec.EllipticCurvePrivateKey, body: bytes) -> str:
    """The value of `SIGNATURE_HEADER` for a body."""
    return base64.b64encode(key.sign(HELLO_DOMAIN + body, ec.ECDSA(hashes.SHA256()))).decode()


def parse_hello(body: bytes) -> Hello:
    """Raises `FederationError` for anything but a `Hello`."""
    try:
        return Hello.model_validate_json(body)
    except ValidationError:
        raise FederationError(tr("malformed message", "消息格式不正确"), expected="hello") from None


def signed_by(key: ec.EllipticCurvePublicKey, body: bytes, signature: str) -> bool:
    """Whether `signature` is the key's over `body`."""
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, HELLO_DOMAIN + body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def clock_fits(signed: datetime, now: datetime | None = None) -> bool:
    """Whether a signed time lies in the window that Flower allows."""
    age = ((now or datetime.now(UTC)) - signed).total_seconds()
    return EARLIEST_SECONDS < age < LATEST_SECONDS


def minor(version: str) -> str:
    """`1.41.0` → `1.41`."""
    return ".".join(version.split(".")[:2])
