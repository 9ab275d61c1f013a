"""Approving a request, renewing and revoking: check, then the ledger, then kits, then the registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_deploy.provision.authority import Authority, moment, opened, write_ledger
from emr_fl_deploy.provision.certificates import new_node_key, new_server_key
from emr_fl_deploy.provision.issue import (
    SERVER,
    check_not_rolled_back,
    issued_to_server,
    issued_to_site,
    publish_registry,
    write_server_kit,
    write_site_kit,
)
from emr_fl_deploy.provision.ledger import Issued, Ledger
from emr_fl_deploy.provision.provisioning import check_joining
from emr_fl_deploy.provision.requests import read_request
from emr_fl_shared.config.settings import Settings
from emr_fl_shared.errors import PolicyError, UsageError
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_node_key, load_node_public_key, load_server_key
from emr_fl_shared.messages import tr

ALL = "all"


@dataclass(frozen=True, slots=True)
class Changed:
    """What a command did."""

    written: tuple[Path, ...]
    """Folders of kits that are new and have to be handed over."""
    left_out: tuple[str, ...]
    """Sites that `renew all` did not touch: revoked, or never approved."""
    revision: int
    federation_key: str
    fingerprint: str = ""
    """Of the site's key, where one was approved."""


def approve(
    request: Path,
    kits: Path,
    *,
    replace: bool = False,
    fingerprint: str | None = None,
    now: datetime | None = None,
) -> Changed:
    """Write the kit of a site that made its own key; the site copies it next to its `node.key`.

    `fingerprint`: what the site read out; another key is refused. `replace`: the name's earlier key is revoked.
    """
    instant = moment(now)
    with opened(kits) as (authority, ledger):
        check_not_rolled_back(authority, ledger)
        asked = read_request(request)
        if fingerprint is not None and fingerprint.replace(":", "").strip().lower() != asked.fingerprint:
            raise PolicyError(
                tr("not the key that was expected", "密钥与预期不符"),
                where=str(request),
                got=asked.fingerprint,
                expected=fingerprint.strip()[:80],
                do=tr("ask the site, by telephone, what it sent", "请打电话向机构核对"),
            )
        _known_site(ledger, asked.name, where=str(request))
        _unused_key(ledger, asked.fingerprint, asked.name, where=str(request))
        current = ledger.current("site", asked.name)
        if current is not None:
            if not replace:
                raise PolicyError(
                    tr("the site has another key that is not revoked", "该机构另有未吊销的密钥"),
                    where=asked.name,
                    got=current.fingerprint,
                    do=tr(
                        "if the site really made a new key: --replace, which revokes the earlier one",
                        "若机构确已更换密钥，请加 --replace（同时吊销旧密钥）",
                    ),
                )
            ledger = ledger.with_revoked("site", asked.name, instant, "replaced by a new key")
        entry = issued_to_site(authority, ledger, asked.name, asked.public_key, instant, made_here=False)
        ledger = ledger.with_issued(entry).with_next_revision()
        write_ledger(authority.folder, ledger)
        folder = write_site_kit(authority, ledger, entry)
        publish_registry(authority, ledger)
        return Changed((folder,), (), ledger.revision, authority.federation_key, asked.fingerprint)


def renew(
    kits: Path,
    who: str,
    *,
    new_key: bool = False,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> Changed:
    """New dates, and a new certificate for the server, for a site, `"server"` or `"all"`; keys stay unless `new_key`.

    `settings` brings changes of `[server]` (addresses, port, sites, validity) into what is issued from now on.
    Running it again also completes what an interrupted command left.
    """
    instant = moment(now)
    with opened(kits) as (authority, ledger):
        check_not_rolled_back(authority, ledger)
        if settings is not None:
            ledger = _with_settings(ledger, settings)
        names, left_out = _whom(ledger, who)
        if new_key:
            _only_keys_made_here(ledger, names)
        done: list[tuple[Issued, x509.Certificate | None, ec.EllipticCurvePrivateKey | None]] = []
        for name in names:
            if name == SERVER:
                ledger, server, certificate, key = _renewed_server(authority, ledger, instant, new_key)
                done.append((server, certificate, key))
            else:
                ledger, site, key = _renewed_site(authority, ledger, name, instant, new_key)
                done.append((site, None, key))
        ledger = ledger.with_next_revision()
        write_ledger(authority.folder, ledger)
        written = []
        for entry, new_certificate, key in done:
            if new_certificate is None:
                written.append(write_site_kit(authority, ledger, entry, key))
            else:
                written.append(write_server_kit(authority, ledger, entry, new_certificate, key))
        publish_registry(authority, ledger)
        return Changed(tuple(written), left_out, ledger.revision, authority.federation_key)


def revoke(kits: Path, name: str, reason: str = "", *, now: datetime | None = None) -> Changed:
    """Revoke everything that a site has. A running server acts on it when it reads `sites.json` again.

    Revoking a site twice changes nothing but publishes the registry again.
    """
    with opened(kits) as (authority, ledger):
        check_not_rolled_back(authority, ledger)
        if ledger.last("site", name) is None:
            raise UsageError(
                tr("no kit was issued to this site", "该机构没有套件"),
                where=name[:80],
                expected=_listed(item.name for item in ledger.issued if item.kind == "site"),
            )
        ledger = ledger.with_revoked("site", name, moment(now), reason).with_next_revision()
        write_ledger(authority.folder, ledger)
        publish_registry(authority, ledger)
        return Changed((), (), ledger.revision, authority.federation_key)


def _renewed_site(
    authority: Authority, ledger: Ledger, name: str, now: datetime, new_key: bool
) -> tuple[Ledger, Issued, ec.EllipticCurvePrivateKey | None]:
    current = ledger.current("site", name)
    assert current is not None and current.public_key is not None  # _whom saw to it
    key = None
    if new_key:
        key = new_node_key()
        public = key.public_key()
        ledger = ledger.with_revoked("site", name, now, "replaced by a new key")
    else:
        public = load_node_public_key(current.public_key.encode())
        if current.made_here:
            path = authority.kits / "sites" / name / "node.key"
            # A key that was handed over and deleted here is fine; one that is another's is not.
            if path.exists():
                there = load_node_key(read_guarded(path, private=True), where=str(path))
                if fingerprint_of(there.public_key()) != current.fingerprint:
                    raise PolicyError(
                        tr("not the key that was issued last", "不是最近签发的密钥"),
                        where=str(path),
                        do=f"emr-fl server renew {name} --kits KITS --new-key",
                    )
    entry = issued_to_site(authority, ledger, name, public, now, made_here=current.made_here)
    return ledger.with_issued(entry), entry, key


def _renewed_server(
    authority: Authority, ledger: Ledger, now: datetime, new_key: bool
) -> tuple[Ledger, Issued, x509.Certificate, ec.EllipticCurvePrivateKey | None]:
    key = None
    if new_key:
        key = new_server_key()
        public = key.public_key()
        ledger = ledger.with_revoked("server", SERVER, now, "replaced by a new key")
    else:
        path = authority.kits / "server" / "server.key.pem"
        public = load_server_key(
            read_guarded(
                path,
                private=True,
                do=tr(
                    "copy it here from the server, or give --new-key", "请从服务器复制到此处，或加 --new-key"
                ),
            ),
            where=str(path),
        ).public_key()
    entry, certificate = issued_to_server(authority, ledger, public, now)
    return ledger.with_issued(entry), entry, certificate, key


def _whom(ledger: Ledger, who: str) -> tuple[list[str], tuple[str, ...]]:
    """Whom to renew, and who is left out of `all`."""
    if who == ALL:
        having = [name for name in ledger.sites if ledger.current("site", name)]
        return [SERVER, *having], tuple(name for name in ledger.sites if name not in having)
    if who == SERVER:
        return [SERVER], ()
    _known_site(ledger, who, where=who[:80])
    if ledger.current("site", who) is None:
        revoked = ledger.last("site", who) is not None
        raise PolicyError(
            tr("revoked", "已吊销") if revoked else tr("has no kit yet", "尚无套件"),
            where=who,
            do=tr(
                "the site makes a new key: `emr-fl client request`, then `emr-fl server approve`",
                "请机构生成新密钥：先 `emr-fl client request`，再 `emr-fl server approve`",
            ),
        )
    return [who], ()


def _only_keys_made_here(ledger: Ledger, names: Sequence[str]) -> None:
    own = [name for name in names if (item := ledger.current("site", name)) and not item.made_here]
    if own:
        raise UsageError(
            tr("these sites make their own keys", "这些机构自行生成密钥"),
            where="--new-key",
            got=_listed(own),
            do=tr(
                "there: `emr-fl client request`; here: `emr-fl server approve REQUEST --replace`",
                "机构端：`emr-fl client request`；此处：`emr-fl server approve REQUEST --replace`",
            ),
        )


def _with_settings(ledger: Ledger, settings: Settings) -> Ledger:
    sites = check_joining(settings)
    if settings.federation.name != ledger.federation:
        raise UsageError(
            tr("the settings of another federation", "这是另一个联邦的设置"),
            where="federation.name",
            got=settings.federation.name,
            expected=ledger.federation,
        )
    return ledger.model_copy(
        update={
            "addresses": tuple(settings.server.addresses),
            "port": settings.server.port,
            "sites": tuple(sites),
            "validity_s": settings.server.validity,
        }
    )


def _known_site(ledger: Ledger, name: str, *, where: str) -> None:
    if name not in ledger.sites:
        raise PolicyError(
            tr("not a site of this federation", "不是本联邦的机构"),
            where=where,
            got=name[:80],
            expected=_listed(ledger.sites),
            do=tr(
                "a new site: add it to server.sites and run `emr-fl server renew server --config FEDERATION.toml`",
                "新机构：请加入 server.sites 并执行 `emr-fl server renew server --config FEDERATION.toml`",
            ),
        )


def _unused_key(ledger: Ledger, fingerprint: str, name: str, *, where: str) -> None:
    owner = next((item for item in reversed(ledger.issued) if item.fingerprint == fingerprint), None)
    if owner is None:
        return
    if owner.name == name and owner.state == "issued":
        message = tr("this key was approved already", "该密钥已获批准")
        do = f"emr-fl server renew {name} --kits KITS"
    else:
        message = tr("a key that was issued before", "该密钥此前已签发过")
        do = tr(
            "the site makes a new key with `emr-fl client request`",
            "请机构用 `emr-fl client request` 生成新密钥",
        )
    raise PolicyError(
        message,
        where=where,
        got=f"{owner.name}, {tr('revoked', '已吊销') if owner.state == 'revoked' else tr('in use', '使用中')}",
        do=do,
    )


def _listed(names: Iterable[str]) -> str:
    shown = list(dict.fromkeys(names))
    return ", ".join(shown[:10]) + (" …" if len(shown) > 10 else "")
