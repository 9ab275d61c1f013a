"""[server]: addresses as certificates name them, sites, validity."""

from __future__ import annotations

import pytest

from emr_fl_shared.config import Settings, settings_from
from emr_fl_shared.errors import SettingsError


def with_server(**server: object) -> Settings:
    return settings_from({"server": server})


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("fl.example.org", "fl.example.org"),
        ("FL.Example.ORG.", "fl.example.org"),
        (" localhost ", "localhost"),
        ("医院.中国", "xn--ekrs67m.xn--fiqs8s"),
        ("医院。中国", "xn--ekrs67m.xn--fiqs8s"),
        ("straße.example", "xn--strae-oqa.example"),
        ("xn--ekrs67m.xn--fiqs8s", "xn--ekrs67m.xn--fiqs8s"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_address_as_written_and_as_used(written: str, used: str) -> None:
    assert with_server(addresses=[written]).server.addresses == [used]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://fl.example.org", "URL"),
        ("fl.example.org/path", "URL"),
        ("me@fl.example.org", "URL"),
        ("fl.example.org:9443", "server.port"),
        ("[2001:db8::1]", "server.port"),
        ("10.0.0.1:9443", "server.port"),
        ("*.example.org", "wildcard"),
        ("fe80::1%eth0", "reached"),
        ("0.0.0.0", "reached"),
        ("::", "reached"),
        ("224.0.0.1", "reached"),
        ("10.0.0", "not a DNS name"),
        ("256.1.1.1", "not a DNS name"),
        ("", "not a DNS name"),
        ("a b.example", "not a DNS name"),
        ("a_b.example", "not a DNS name"),
        ("-a.example", "not a DNS name"),
        ("a..example", "not a DNS name"),
        ("a." * 130 + "example", "not a DNS name"),
        ("a" * 64 + ".example", "not a DNS name"),
        ("fl.example.org\nx", "not a DNS name"),
    ],
)
def test_address_that_no_certificate_should_name(address: str, words: str) -> None:
    with pytest.raises(SettingsError, match=r"server\.addresses\.1") as caught:
        with_server(addresses=["good.example", address])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ({"addresses": ["a.example", "A.example"]}, "server.addresses"),
        ({"sites": ["a", "b", "a"]}, "server.sites"),
        ({"sites": ["Hospital", "hospital"]}, "server.sites"),
        ({"sites": ["../a"]}, "server.sites"),
        ({"sites": ["a\n"]}, "server.sites"),
        ({"port": 0}, "server.port"),
        ({"port": 65536}, "server.port"),
        ({"validity": "10m"}, "server.validity"),
        ({"validity": "3651d"}, "server.validity"),
        ({"adresses": []}, "did you mean addresses?"),
    ],
)
def test_refused(server: dict[str, object], place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        with_server(**server)
    assert place in str(caught.value)


def test_who_may_join() -> None:
    sites = {"a": {"source": "a.csv"}, "b": {"source": "b.csv"}}
    assert settings_from({"sites": sites}).sites_that_may_join() == ["a", "b"]
    assert settings_from({"sites": sites, "server": {"sites": ["c"]}}).sites_that_may_join() == ["c"]
    assert with_server().server.validity == 365 * 86400 and with_server().server.port == 9443
