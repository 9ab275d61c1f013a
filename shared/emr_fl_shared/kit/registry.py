"""Who may join: node key → site."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emr_fl_shared.errors import DataError
from emr_fl_shared.kit.documents import RegistryDocument, SiteEntry
from emr_fl_shared.kit.keys import fingerprint_of, load_node_public_key
from emr_fl_shared.messages import tr

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry whose signature was checked."""

    federation: str
    federation_id: str
    revision: int
    entries: tuple[SiteEntry, ...]
    _by_fingerprint: Mapping[str, SiteEntry]

    @classmethod
    def of(cls, document: RegistryDocument, *, where: str) -> Registry:
        """Raises DataError where the document contradicts itself."""
        by_fingerprint: dict[str, SiteEntry] = {}
        current: set[str] = set()
        for entry in document.sites:
            try:
                fits = fingerprint_of(load_node_public_key(entry.public_key.encode())) == entry.fingerprint
            except ValueError:
                fits = False
            if (
                not fits
                or entry.fingerprint in by_fingerprint
                or (not entry.revoked and entry.name in current)
            ):
                raise DataError(
                    tr("contradicts itself", "内容自相矛盾"),
                    where=f"{where}: {entry.name}",
                    expected=tr(
                        "one key that counts per site, named by its fingerprint",
                        "每个机构一把有效密钥，且指纹相符",
                    ),
                    do="emr-fl server renew all --kits KITS",
                )
            by_fingerprint[entry.fingerprint] = entry
            if not entry.revoked:
                current.add(entry.name)
        return cls(
            federation=document.federation,
            federation_id=document.federation_id,
            revision=document.revision,
            entries=document.sites,
            _by_fingerprint=MappingProxyType(by_fingerprint),
        )

    def site_of(self, key: bytes | str) -> SiteEntry | None:
        """The entry of a public key (OpenSSH, PEM or DER) or of a fingerprint; None where it is not registered.

        The bytes may come from a stranger. An entry alone admits nobody: ask it `valid_at(now)`.
        """
        if isinstance(key, str) and _FINGERPRINT.fullmatch(key):
            return self._by_fingerprint.get(key)
        try:
            data = key.encode("ascii") if isinstance(key, str) else key
            return self._by_fingerprint.get(fingerprint_of(load_node_public_key(data)))
        except ValueError:  # UnicodeEncodeError is one
            return None

    def entry_of(self, name: str) -> SiteEntry | None:
        """The entry that counts for a site: the one not revoked, else the last revoked one."""
        mine = [entry for entry in self.entries if entry.name == name]
        return next((entry for entry in mine if not entry.revoked), mine[-1] if mine else None)
