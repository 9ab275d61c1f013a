"""The ledger: everything that a federation's authority ever issued. The registry of sites is derived from it.

Every change is written here first and published after, so that a command that was interrupted is finished by running it,
or any `server renew`, again; a registry is never newer than its ledger, and a ledger from an old backup is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from emr_fl_shared.kit.documents import (
    SCHEMA,
    Digest,
    Document,
    FederationId,
    Moment,
    Name,
    Port,
    RegistryDocument,
    SiteEntry,
)

LEDGER_LIMIT = 16 * 1024 * 1024
Kind = Literal["authority", "server", "site"]


class Issued(Document):
    """One certificate or kit."""

    number: Annotated[int, Field(ge=1)]
    name: Name
    kind: Kind
    fingerprint: Digest
    public_key: str | None = None
    """OpenSSH; of sites only."""
    made_here: bool
    """Whether the private key was made by the authority, or by the site itself."""
    serial: str | None = None
    """Of the certificate, in hexadecimal; a site's kit has none."""
    not_before: Moment
    not_after: Moment
    state: Literal["issued", "revoked"] = "issued"
    revoked_at: Moment | None = None
    reason: str | None = None


class Ledger(Document):
    """`ledger.json`."""

    schema_: Literal[1] = Field(alias="schema")
    federation: str
    federation_id: FederationId
    addresses: Annotated[tuple[str, ...], Field(min_length=1)]
    port: Port
    sites: tuple[Name, ...]
    """Who may have a kit."""
    validity_s: Annotated[float, Field(gt=0)]
    revision: Annotated[int, Field(ge=1)]
    issued: tuple[Issued, ...]

    def next_number(self) -> int:
        return max((item.number for item in self.issued), default=0) + 1

    def current(self, kind: Kind, name: str) -> Issued | None:
        """What counts for a name: the last that was issued and not revoked."""
        mine = [item for item in self.issued if (item.kind, item.name) == (kind, name)]
        return mine[-1] if mine and mine[-1].state == "issued" else None

    def last(self, kind: Kind, name: str) -> Issued | None:
        """The last that was issued to a name, revoked or not."""
        mine = [item for item in self.issued if (item.kind, item.name) == (kind, name)]
        return mine[-1] if mine else None

    def with_issued(self, item: Issued) -> Ledger:
        return self.model_copy(update={"issued": (*self.issued, item)})

    def with_revoked(self, kind: Kind, name: str, now: datetime, reason: str) -> Ledger:
        """Everything that a name has and that is not revoked yet, revoked."""
        gone = {"state": "revoked", "revoked_at": now, "reason": reason}
        return self.model_copy(
            update={
                "issued": tuple(
                    item.model_copy(update=gone)
                    if (item.kind, item.name, item.state) == (kind, name, "issued")
                    else item
                    for item in self.issued
                )
            }
        )

    def with_next_revision(self) -> Ledger:
        return self.model_copy(update={"revision": self.revision + 1})

    def registry(self) -> RegistryDocument:
        """Each key once, with the dates of the last kit that was issued for it."""
        latest: dict[str, Issued] = {}
        for item in _sites(self.issued):
            latest[item.fingerprint] = item
        return RegistryDocument(
            schema=SCHEMA,
            federation=self.federation,
            federation_id=self.federation_id,
            revision=self.revision,
            sites=tuple(
                SiteEntry(
                    name=item.name,
                    public_key=item.public_key or "",
                    fingerprint=item.fingerprint,
                    not_before=item.not_before,
                    not_after=item.not_after,
                    revoked=item.state == "revoked",
                )
                for item in latest.values()
            ),
        )


def _sites(issued: Iterable[Issued]) -> Iterable[Issued]:
    return (item for item in issued if item.kind == "site")
