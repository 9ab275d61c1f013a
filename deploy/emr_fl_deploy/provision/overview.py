"""The table of kits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from emr_fl_deploy.provision.authority import moment, opened
from emr_fl_deploy.provision.ledger import Issued, Kind
from emr_fl_shared.kit.reading import WARNING_DAYS

State = Literal["valid", "expires soon", "expired", "not yet valid", "revoked", "not issued"]


@dataclass(frozen=True, slots=True)
class KitLine:
    """One kit as it stands."""

    name: str
    kind: Kind
    state: State
    days_left: int | None
    not_after: datetime | None
    fingerprint: str | None
    key_made: Literal["centrally", "by the site"] | None
    reason: str | None
    """Of a revocation."""


def overview(kits: Path, *, now: datetime | None = None) -> list[KitLine]:
    """The authority, the server, and each site of the federation, in the order of the settings."""
    instant = moment(now)
    with opened(kits) as (_, ledger):
        known = [*ledger.sites]
        known += [item.name for item in ledger.issued if item.kind == "site" and item.name not in known]
        return [
            _line("authority", "authority", ledger.last("authority", "authority"), instant),
            _line("server", "server", ledger.last("server", "server"), instant),
            *(_line(name, "site", ledger.last("site", name), instant) for name in dict.fromkeys(known)),
        ]


def _line(name: str, kind: Kind, item: Issued | None, now: datetime) -> KitLine:
    if item is None:
        return KitLine(name, kind, "not issued", None, None, None, None, None)
    days = (item.not_after - now) // timedelta(days=1)
    state: State
    if item.state == "revoked":
        state = "revoked"
    elif now < item.not_before:
        state = "not yet valid"
    elif now >= item.not_after:
        state = "expired"
    else:
        state = "expires soon" if days < WARNING_DAYS else "valid"
    return KitLine(
        name,
        kind,
        state,
        days,
        item.not_after,
        item.fingerprint,
        "centrally" if item.made_here else "by the site",
        item.reason,
    )
