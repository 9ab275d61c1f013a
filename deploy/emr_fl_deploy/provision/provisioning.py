"""`emr-fl server provision`: authority, server kit and site kits, complete or not there."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_deploy.provision.authority import EARLIER, Authority, moment, write_ledger
from emr_fl_deploy.provision.certificates import (
    authority_certificate,
    key_pem,
    new_authority_key,
    new_node_key,
    new_server_key,
)
from emr_fl_deploy.provision.issue import (
    issued_to_server,
    issued_to_site,
    private_folder,
    publish_registry,
    write_server_kit,
    write_site_kit,
)
from emr_fl_deploy.provision.ledger import Issued, Ledger
from emr_fl_deploy.provision.whole_folder import made_whole
from emr_fl_shared.config.settings import Settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import EmrFlError, SettingsError
from emr_fl_shared.kit.documents import SCHEMA
from emr_fl_shared.kit.keys import fingerprint_of
from emr_fl_shared.messages import tr

RESERVED = ("server", "all", "authority")
"""Words that `renew` and the table of kits use for something else than a site."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was made."""

    kits: Path
    federation: str
    federation_id: str
    federation_key: str
    """Fingerprint of the signing key."""
    sites: tuple[str, ...]
    keys: Literal["central", "requests"]
    not_after: datetime


def provision(
    settings: Settings,
    out: Path,
    *,
    keys: Literal["central", "requests"] = "central",
    now: datetime | None = None,
) -> Provisioned:
    """Make the authority, the server's kit and, with `central`, a kit with its key for each site.

    With `requests` no site's key is made: each site makes its own and asks (`requests.make_request`, `changes.approve`).
    Everything is made in a folder beside `out` and renamed at the end, so `out` is complete or not there.
    Raises SettingsError, UsageError (`out` exists) or StorageError.
    """
    sites = check_joining(settings)
    with made_whole(out) as kits:
        instant = moment(now)
        start = instant - EARLIER
        federation_id = secrets.token_hex(16)
        name = settings.federation.name
        ca_key, signing_key = new_authority_key(), Ed25519PrivateKey.generate()
        ca = authority_certificate(ca_key, name, federation_id, start)
        authority = Authority(kits, ca_key, ca, signing_key)
        for folder in ("authority", "server", "sites"):
            private_folder(kits / folder)
        for file, data in (
            ("ca.key.pem", key_pem(ca_key)),
            ("ca.cert.pem", authority.ca_pem),
            ("signing.key.pem", key_pem(signing_key)),
            ("signing.pub.pem", authority.signing_pem),
        ):
            write_durably(authority.folder / file, [data])
        ledger = Ledger(
            schema=SCHEMA,
            federation=name,
            federation_id=federation_id,
            addresses=tuple(settings.server.addresses),
            port=settings.server.port,
            sites=tuple(sites),
            validity_s=settings.server.validity,
            revision=1,
            issued=(
                Issued(
                    number=1,
                    name="authority",
                    kind="authority",
                    fingerprint=fingerprint_of(ca_key.public_key()),
                    made_here=True,
                    serial=f"{ca.serial_number:x}",
                    not_before=ca.not_valid_before_utc,
                    not_after=ca.not_valid_after_utc,
                ),
            ),
        )
        server_key = new_server_key()
        server, certificate = issued_to_server(authority, ledger, server_key.public_key(), instant)
        ledger = ledger.with_issued(server)
        write_server_kit(authority, ledger, server, certificate, server_key)
        for site in sites if keys == "central" else ():
            node_key = new_node_key()
            entry = issued_to_site(authority, ledger, site, node_key.public_key(), instant, made_here=True)
            ledger = ledger.with_issued(entry)
            write_site_kit(authority, ledger, entry, node_key)
        write_ledger(authority.folder, ledger)
        publish_registry(authority, ledger)
        return Provisioned(
            out, name, federation_id, authority.federation_key, tuple(sites), keys, server.not_after
        )


def check_joining(settings: Settings) -> list[str]:
    """The names of the sites. Raises SettingsError listing all that a real federation still needs."""
    problems: list[EmrFlError] = []
    if not settings.server.addresses:
        problems.append(
            EmrFlError(
                tr("missing", "缺少"),
                where="server.addresses",
                expected=tr("names or IP addresses of the server", "服务器的域名或 IP 地址"),
                do='[server] addresses = ["fl.example.org"]',
            )
        )
    sites = settings.sites_that_may_join()
    if not sites:
        problems.append(
            EmrFlError(
                tr("missing", "缺少"),
                where="server.sites",
                expected=tr("names of the sites that may join", "可加入的机构名"),
                do='[server] sites = ["hospital-a", "hospital-b"]',
            )
        )
    for name in sites:
        if name.casefold() in RESERVED:
            problems.append(
                EmrFlError(
                    tr("a reserved word, not a site's name", "保留字，不能用作机构名"),
                    where="server.sites",
                    got=name,
                )
            )
    folded = [name.casefold() for name in sites]
    for name in sites:
        if folded.count(name.casefold()) > 1:
            problems.append(
                EmrFlError(
                    tr("there twice (case does not count)", "重复（不区分大小写）"),
                    where="server.sites",
                    got=name,
                )
            )
    if problems:
        raise SettingsError(problems)
    return sites
