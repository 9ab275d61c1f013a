"""What `kit.json` and `sites.json` say. Both are read only after their signature was checked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from emr_fl_shared.config.settings import SITE_NAME
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

SCHEMA: Final = 1

KIT_FILES = {
    "site": frozenset({"ca.cert.pem", "signing.pub.pem", "node.pub"}),
    "server": frozenset({"ca.cert.pem", "signing.pub.pem", "server.cert.pem"}),
}
"""The files whose digests a kit names: these and no others."""


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _site_name(name: str) -> str:
    if not SITE_NAME.fullmatch(name):
        raise ValueError("not a site's name")
    return name


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, AfterValidator(_site_name)]
FederationId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Validity = Literal["valid", "revoked", "expired", "not yet valid"]


class Document(BaseModel):
    """A frozen message that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Versions(Document):
    """What made the kit. Peers must share Flower's major.minor."""

    emr_fl: str
    flwr: Annotated[str, Field(pattern=r"^\d+\.\d+$")]


class KitDocument(Document):
    """`kit.json`."""

    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["site", "server"]
    federation: str
    federation_id: FederationId
    name: Name
    """The site's name; `server` in the server's kit."""
    addresses: Annotated[tuple[str, ...], Field(min_length=1)]
    port: Port
    versions: Versions
    key_fingerprint: Digest
    """Of the node's key, or of the server's."""
    not_before: Moment
    not_after: Moment
    number: Annotated[int, Field(ge=1)]
    """Counts everything that the authority issued: a later kit has a larger number."""
    files: dict[str, Digest]
    """SHA-256 of the other files that the signature covers."""


class SiteEntry(Document):
    """One node key in the registry. A name has several entries after its key was replaced; all but one are revoked."""

    name: Name
    public_key: Annotated[str, Field(max_length=4096)]
    """OpenSSH format."""
    fingerprint: Digest
    not_before: Moment
    not_after: Moment
    revoked: bool

    def validity_at(self, now: datetime) -> Validity:
        """Why the key may or may not be used at `now`."""
        if self.revoked:
            return "revoked"
        if now < self.not_before:
            return "not yet valid"
        return "valid" if now < self.not_after else "expired"

    def valid_at(self, now: datetime) -> bool:
        """Whether the key may be used at `now`."""
        return self.validity_at(now) == "valid"


class RegistryDocument(Document):
    """`sites.json`."""

    schema_: Literal[1] = Field(alias="schema")
    federation: str
    federation_id: FederationId
    revision: Annotated[int, Field(ge=1)]
    """Grows with every change, so that an older registry can be told from a newer one."""
    sites: tuple[SiteEntry, ...]


_Document = TypeVar("_Document", bound=Document)


def parse_document(kind: type[_Document], data: bytes, *, where: str) -> _Document:
    """JSON → a document. Raises DataError that names the places that are wrong, never what stands there."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        places = [
            ".".join(map(str, item["loc"])) or "JSON"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise DataError(
            tr("not understood", "无法理解"),
            where=where,
            got=", ".join(dict.fromkeys(places)),
            expected=tr(f"a document of schema {SCHEMA}", f"schema 为 {SCHEMA} 的文档"),
            do=tr(
                "it was made by another version of emr-fl: install the coordinator's",
                "该文件由其他版本的 emr-fl 生成：请安装与协调方相同的版本",
            ),
        ) from None


def document_bytes(document: Document) -> bytes:
    """A document as JSON that a person can read."""
    return document.model_dump_json(indent=2, by_alias=True).encode() + b"\n"
