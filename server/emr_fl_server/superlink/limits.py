"""How often somebody may knock: token buckets by site, and by address for everybody that no key vouches for."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass, field

REQUESTS_PER_SECOND, BURST = 100.0, 400.0
STRANGERS_PER_SECOND, STRANGERS_BURST = 2.0, 20.0
MOST_ADDRESSES = 10_000


@dataclass
class Bucket:
    """A token bucket: `rate` a second, `burst` at once."""

    rate: float
    burst: float
    tokens: float = -1.0
    at: float = 0.0

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = time.monotonic()
        filled = self.burst if self.tokens < 0 else self.tokens + (now - self.at) * self.rate
        self.tokens, self.at = min(self.burst, filled), now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def give_back(self) -> None:
        """What was taken turned out to cost nothing."""
        self.tokens = min(self.burst, self.tokens + 1.0)


@dataclass
class Limits:
    """The buckets. Sites are as many as the registry holds; of addresses the ones used last are remembered."""

    _sites: dict[str, Bucket] = field(default_factory=dict)
    _addresses: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def site(self, name: str) -> Bucket:
        """The bucket of a site of the registry."""
        if name not in self._sites:
            self._sites[name] = Bucket(REQUESTS_PER_SECOND, BURST)
        return self._sites[name]

    def address(self, address: str) -> Bucket:
        """The bucket of an address; an IPv6 network of one subscriber (/64) counts as one."""
        name = _subscriber(address)
        if name not in self._addresses:
            while len(self._addresses) >= MOST_ADDRESSES:
                self._addresses.popitem(last=False)
            self._addresses[name] = Bucket(STRANGERS_PER_SECOND, STRANGERS_BURST)
        self._addresses.move_to_end(name)
        return self._addresses[name]


def _subscriber(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
