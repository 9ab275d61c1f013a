"""The server's side of a session of secure aggregation (Bonawitz et al. 2017, Figure 4), without its messages.

It checks what it can although it need not be trusted: a wrong signature, a share that does not open what was committed to, or a
vector that does not fit costs its site the round and not everybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from emr_fl_server.aggregation.masked import MaskedMeans, MaskedSum
from emr_fl_shared.errors import DataError, FederationError
from emr_fl_shared.kit.registry import Registry
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Shapes
from emr_fl_shared.secure_aggregation.agreement import agreed_key, derived_key, public_key
from emr_fl_shared.secure_aggregation.bodies import (
    Advertisement,
    ConsentReply,
    KeysReply,
    MaskedReply,
    RevealReply,
    SecureReply,
    SharesReply,
)
from emr_fl_shared.secure_aggregation.masking import Sign
from emr_fl_shared.secure_aggregation.parameters import threshold
from emr_fl_shared.secure_aggregation.sharing import join
from emr_fl_shared.secure_aggregation.statements import (
    CONSENT_DOMAIN,
    UPDATE_DOMAIN,
    Setting,
    check_advertisements,
    consent_statement,
    fits,
    mask_purpose,
    node_keys,
    seed_purpose,
    sign_of,
    transcript_of,
    update_statement,
)


class Opening:
    """One session: what came in each step, and the sum. `registry` says whose keys are whose."""

    def __init__(self, setting: Setting, registry: Registry) -> None:
        self.setting = setting
        self._registry = registry
        self.advertisements: dict[str, Advertisement] = {}
        self.transcript = ""
        self.sealed: dict[str, dict[str, str]] = {}
        self.consents: dict[str, str] = {}
        self.survivors: list[str] = []
        self._sum: MaskedSum | None = None
        self._added: list[str] = []
        self._seeds: dict[str, dict[int, bytes]] = {}
        self._mask_keys: dict[str, dict[int, bytes]] = {}
        self.revealed: list[str] = []

    @property
    def members(self) -> list[str]:
        """Who advertised keys, in name order: the order of the shares."""
        return sorted(self.advertisements)

    @property
    def threshold(self) -> int:
        """How many members' shares open a secret."""
        return threshold(len(self.advertisements), self.setting.parameters.mode)

    def add_keys(self, site: str, reply: KeysReply) -> None:
        """Raises PolicyError for keys that the site did not sign for this session."""
        self._belongs(site, reply)
        item = reply.advertisement
        if item.site != site:
            raise _not_its(site, item.site)
        keys = node_keys(self._registry, [site])
        check_advertisements(self.setting, [item], keys)
        self.advertisements[site] = item

    def close_keys(self) -> None:
        """No member comes after this."""
        self.transcript = transcript_of(self.setting, self.advertisements.values())

    def add_shares(self, site: str, reply: SharesReply) -> None:
        """Raises FederationError unless there are shares for every other member."""
        self._belongs(site, reply)
        if set(reply.sealed) != set(self.members) - {site}:
            raise FederationError(
                tr("shares for other members than there are", "份额的接收者与成员不符"), where=site
            )
        self.sealed[site] = dict(reply.sealed)

    def expect(self, shapes: Shapes, rows: int) -> None:
        """Make the accumulator for masked vectors of these shapes."""
        self._sum = MaskedSum(shapes, self.setting.parameters, len(self.advertisements), rows)

    def add_masked(self, site: str, reply: MaskedReply, payload: bytes | None) -> None:
        """Check a masked vector and the site's signed word about it completely, then add it.

        Raises EmrFlError; the sum is as it was then.
        """
        self._belongs(site, reply)
        if payload is None or site in self._added or self._sum is None:
            raise DataError(tr("the reply holds no update", "应答中没有更新"), where=site)
        digest = hashlib.sha256(payload).hexdigest()
        statement = update_statement(self.transcript, site, digest, reply.norm_bound)
        key = node_keys(self._registry, [site])[site]
        if digest != reply.sha256 or not fits(key, UPDATE_DOMAIN, statement, reply.signature):
            raise DataError(
                tr("a masked vector that its site did not sign", "掩码向量未由该机构签名"), where=site
            )
        most = self.setting.parameters.max_norm
        if reply.norm_bound > most:
            raise DataError(
                tr("the site does not vouch for the norm that was agreed", "机构未保证约定的范数上限"),
                where=site,
                got=f"{reply.norm_bound:g}",
                expected=f"<= {most:g} (privacy.secure_aggregation.max_norm)",
            )
        self._sum.add(self._sum.check(payload))
        self._added.append(site)

    def close_masked(self) -> None:
        """The list of survivors is fixed from here on."""
        self.survivors = sorted(self._added)

    def add_consent(self, site: str, reply: ConsentReply) -> None:
        """Raises DataError for a signature that is not the site's on this list."""
        self._belongs(site, reply)
        statement = consent_statement(self.transcript, self.survivors)
        key = node_keys(self._registry, [site])[site]
        if not fits(key, CONSENT_DOMAIN, statement, reply.signature):
            raise DataError(
                tr("not a signature on this list of survivors", "不是对该幸存者名单的签名"), where=site
            )
        self.consents[site] = reply.signature

    def add_reveal(self, site: str, reply: RevealReply) -> None:
        """Take a member's shares."""
        self._belongs(site, reply)
        gone = set(self.sealed) - set(self.survivors)
        if not set(reply.seeds) <= set(self.survivors) or not set(reply.mask_keys) <= gone:
            raise FederationError(tr("shares that nobody asked for", "未请求的份额"), where=site)
        number = self.members.index(site)
        for kept, given in ((self._seeds, reply.seeds), (self._mask_keys, reply.mask_keys)):
            for owner, share in given.items():
                kept.setdefault(owner, {})[number] = bytes.fromhex(share)
        self.revealed.append(site)

    def open(self, row_tensors: Collection[str]) -> MaskedMeans:
        """Take all masks out of the sum. Raises FederationError if that can't be done or what comes out is no sum."""
        assert self._sum is not None
        for mask, sign in self._masks():
            self._sum.unmask(mask, sign)
        means, self._sum = self._sum.opened(row_tensors), None
        return means

    def _masks(self) -> Iterator[tuple[bytes, Sign]]:
        """Every mask that is still in the sum, with its sign: the survivors' own ones, and those that they share with the sites
        that shared secrets and sent no vector."""
        for site in self.survivors:
            seed = self._secret(site, self._seeds, "commitment")
            yield derived_key(seed, seed_purpose(self.transcript, site)), 1
        for gone in sorted(set(self.sealed) - set(self.survivors)):
            private = self._secret(gone, self._mask_keys, "mask_key")
            for site in self.survivors:
                other = bytes.fromhex(self.advertisements[site].mask_key)
                purpose = mask_purpose(self.transcript, gone, site)
                yield agreed_key(private, other, purpose), sign_of(site, gone)

    def _secret(
        self, site: str, shares: Mapping[str, Mapping[int, bytes]], checked: Literal["commitment", "mask_key"]
    ) -> bytes:
        try:
            secret = join(shares.get(site, {}), self.threshold)
        except ValueError:
            raise FederationError(
                tr("too few shares to open the sum", "份额过少，无法解开总和"),
                where=site,
                got=str(len(shares.get(site, {}))),
                expected=f">= {self.threshold}",
            ) from None
        found = hashlib.sha256(secret).digest() if checked == "commitment" else public_key(secret)
        if found.hex() != getattr(self.advertisements[site], checked):
            raise FederationError(
                tr("shares that do not open what was committed to", "份额无法还原所承诺的秘密"), where=site
            )
        return secret

    def _belongs(self, site: str, reply: SecureReply) -> None:
        if (reply.site, reply.round, reply.session) != (site, self.setting.round, self.setting.session):
            raise _not_its(site, f"{reply.site}, {reply.round}")


def _not_its(site: str, got: str) -> FederationError:
    return FederationError(
        tr("the reply is not the one that was asked for", "应答与请求不符"), got=got, expected=site
    )
