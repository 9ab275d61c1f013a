"""The address of a server as a person writes it → the form that certificates and connections use."""

from __future__ import annotations

import ipaddress
import re

from emr_fl_shared.messages import tr

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def server_address(text: str) -> str:
    """A DNS name (international names in punycode, lower case) or an IP address in its shortest form.

    Raises ValueError for what a certificate can't or should not name: a URL, a port, a wildcard, a zone,
    an address that stands for "all".
    """
    address = text.strip().removesuffix(".")
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return _dns_name(address)
    if getattr(number, "scope_id", None) or number.is_unspecified or number.is_multicast:
        raise ValueError(
            tr("not an address under which one server can be reached", "该地址无法用来访问一台服务器")
        )
    return str(number)


def is_ip(address: str) -> bool:
    """Whether an address that `server_address` returned is a number and not a name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _dns_name(name: str) -> str:
    if "://" in name or "/" in name or "@" in name:
        raise ValueError(tr("a name or an IP address only, not a URL", "只写域名或 IP 地址，不要写成网址"))
    if ":" in name:
        raise ValueError(
            tr(
                "a name or an IP address only; the port is server.port",
                "只写域名或 IP 地址；端口写在 server.port",
            )
        )
    if "*" in name:
        raise ValueError(
            tr("no wildcard: list the names of the server", "不支持通配符：请逐一写出服务器的域名")
        )
    import idna

    try:
        ascii_name = idna.encode(name, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise ValueError(tr("not a DNS name or IP address", "不是域名或 IP 地址")) from None
    labels = ascii_name.split(".")
    # A last label of digits only is a mistyped IP address: 10.0.0 or 256.1.1.1
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit() or len(ascii_name) > 253:
        raise ValueError(tr("not a DNS name or IP address", "不是域名或 IP 地址"))
    return ascii_name
