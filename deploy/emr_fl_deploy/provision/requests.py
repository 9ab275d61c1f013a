"""A site makes its own key and asks for a kit: the private key never leaves the hospital.

`request.json` holds the site's name and public key, and a signature by the key itself: whoever asks has the private key,
and nobody can change the name on the way. That the right hospital asks is for two people to settle: both see the key's
fingerprint, and compare it by a way that the file did not take.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from emr_fl_deploy.provision.authority import moment
from emr_fl_deploy.provision.certificates import key_openssh, new_node_key
from emr_fl_deploy.provision.whole_folder import made_whole
from emr_fl_shared.config.settings import check_site_names
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError, UsageError
from emr_fl_shared.kit.documents import SCHEMA, Document, Moment, Name, document_bytes, parse_document
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_node_public_key, openssh
from emr_fl_shared.kit.signing import REQUEST_DOMAIN, own_key_signed, sign_with_own_key
from emr_fl_shared.messages import tr


class Request(Document):
    """`request.json`."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    public_key: Annotated[str, Field(max_length=4096)]
    """OpenSSH format."""
    made_at: Moment
    signature: Annotated[str, Field(max_length=512)]
    """Base64; ECDSA with SHA-384 by the key itself over everything else."""

    def signed_bytes(self) -> bytes:
        content = self.model_dump(mode="json", by_alias=True, exclude={"signature"})
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request whose signature fits its key."""

    name: str
    public_key: ec.EllipticCurvePublicKey
    fingerprint: str


def make_request(name: str, out: Path, *, now: datetime | None = None) -> str:
    """Make a node key and `request.json` in `out`; returns the key's fingerprint."""
    try:
        check_site_names([name])
    except ValueError as error:
        raise UsageError(str(error), where="--site") from None
    key = new_node_key()
    public = openssh(key.public_key())
    request = Request(schema=SCHEMA, name=name, public_key=public, made_at=moment(now), signature="")
    signature = sign_with_own_key(key, REQUEST_DOMAIN, request.signed_bytes())
    request = request.model_copy(update={"signature": signature})
    with made_whole(out) as folder:
        write_durably(folder / "node.key", [key_openssh(key)])
        write_durably(folder / "node.pub", [f"{public}\n".encode()])
        write_durably(folder / "request.json", [document_bytes(request)])
    return fingerprint_of(key.public_key())


def read_request(path: Path) -> CheckedRequest:
    """A request, checked. Raises DataError (unreadable) or PolicyError (the signature does not fit)."""
    request = parse_document(
        Request,
        read_guarded(
            path, do=tr("give the request.json that the site sent", "请给出机构发来的 request.json")
        ),
        where=str(path),
    )
    try:
        key = load_node_public_key(request.public_key.encode())
    except ValueError:
        key = None
    if key is None or not own_key_signed(key, REQUEST_DOMAIN, request.signed_bytes(), request.signature):
        raise PolicyError(
            tr("the request is not signed by the key that it names", "申请并非由其中的密钥签名"),
            where=str(path),
            got=tr("a file that was changed on its way", "文件在传送途中被改动"),
            do=tr(
                "ask the site to send it again, or to make a new one with `emr-fl client request`",
                "请机构重新发送，或用 `emr-fl client request` 重新生成",
            ),
        )
    return CheckedRequest(request.name, key, fingerprint_of(key))
