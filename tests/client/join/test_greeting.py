"""A site greets a real gateway: what it is told, and how it is said, for each way in which it can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from emr_fl_client.join import greeting
from emr_fl_client.join.greeting import CertificateDates, Greeter, Unreachable
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.hello import HelloReply
from emr_fl_shared.kit import read_site_kit
from emr_fl_shared.processes import free_port
from public_port import HOST, PublicPort, make_kits, public_port, server_with, sign_registry

Greet = Callable[..., Greeter]


def forget_south(document: dict[str, Any]) -> None:
    document["sites"] = [entry for entry in document["sites"] if entry["name"] != "south"]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """`north` is registered; `south` has a kit and is not in the list of sites any more."""
    with public_port(tmp_path_factory.mktemp("greeting")) as gateway:
        sign_registry(gateway.kits, forget_south)
        yield gateway


@pytest.fixture
def greet(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> Iterator[Greet]:
    """Makes a greeter of a site's kit; closed after the test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made: list[Greeter] = []

    def greeter(site: str, kits: Path | None = None) -> Greeter:
        made.append(Greeter(read_site_kit((kits or port.kits) / "sites" / site, name=site)))
        return made[-1]

    yield greeter
    for one in made:
        one.close()


def test_a_registered_site_is_known(port: PublicPort, greet: Greet) -> None:
    reply = greet("north").hello("0a" * 8)
    assert (reply.site, reply.standing) == ("north", "registered")
    line = greet("north").probe(200_000)
    assert line.rate > 0 and 0 < line.seconds < 10


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("south", "the server does not know this site's key"),
        ("revoked", "this site's key was revoked"),
        ("expired", "this site's kit has expired"),
        ("future", "this site's kit is not valid yet"),
    ],
)
def test_a_site_that_may_not_join_is_told_why(greet: Greet, site: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        greet(site).hello()
    assert type(caught.value) is PolicyError and caught.value.exit_code == 3
    assert words in str(caught.value) and "ask the coordinator" in str(caught.value)
    assert "SHA-256" in str(caught.value)  # what two people compare on the telephone


@pytest.mark.parametrize(("hours", "shown"), [(1, "+3600 s"), (-1, "-3600 s")])
def test_a_wrong_clock_is_told_with_its_error(
    greet: Greet, monkeypatch: pytest.MonkeyPatch, hours: int, shown: str
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    greeter = greet("north")
    monkeypatch.setattr(greeting, "datetime", Wrong)
    with pytest.raises(PolicyError, match="this machine's clock is wrong") as caught:
        greeter.hello()
    assert f"{shown[:3]}" in caught.value.got and "NTP" in caught.value.do
    assert abs(abs(float(caught.value.got.split()[0])) - 3600) < 10


@pytest.mark.parametrize(
    ("name", "theirs", "ok"),
    [
        ("emr-fl", "0.99.0", False),
        ("flwr", "1.40.0", False),
        ("flwr", "2.41.0", False),
        ("flwr", "1.41.9", True),
    ],
)
def test_another_version(
    greet: Greet, monkeypatch: pytest.MonkeyPatch, name: str, theirs: str, ok: bool
) -> None:
    greeter = greet("north")
    real = greeting.version
    monkeypatch.setattr(greeting, "version", lambda asked: theirs if asked == name else real(asked))
    if ok:
        greeter.hello()
        return
    with pytest.raises(PolicyError, match=f"another version of {name} than the server's") as caught:
        greeter.hello()
    assert theirs in caught.value.got and "*" in caught.value.expected


def test_a_server_of_another_authority(port: PublicPort, greet: Greet, tmp_path: Path) -> None:
    """The kit of another federation whose server is said to be at the same address."""
    kits = make_kits(tmp_path / "kits", port.port, "other")
    with pytest.raises(PolicyError, match="not the server that the kit was made for") as caught:
        greet("north", kits).hello()
    assert "proxy" in caught.value.do and f"{HOST}:{port.port}" in caught.value.where


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("addresses", "begins", "ends", "words"),
    [
        pytest.param(["fl.example.org"], -HOUR, DAY, "not the server that", id="another name"),
        pytest.param(["127.0.0.2"], -HOUR, DAY, "not the server that", id="another address"),
        pytest.param([HOST], -DAY, -HOUR, "certificate is not valid now", id="expired"),
        pytest.param([HOST], HOUR, DAY, "certificate is not valid now", id="not yet valid"),
    ],
)
def test_a_certificate_that_does_not_fit(
    tmp_path: Path, greet: Greet, addresses: list[str], begins: timedelta, ends: timedelta, words: str
) -> None:
    with server_with(tmp_path, addresses, begins, ends) as kits:
        with pytest.raises(PolicyError, match=words) as caught:
            greet("north", kits).hello()
        dates = "certificate is not valid" in words
        assert type(caught.value) is (CertificateDates if dates else PolicyError)


def reply(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "federation_id": "f" * 32,
        "site": "north",
        "standing": "registered",
        "time": datetime.now(UTC),
        "emr_fl": "0.1.0",
        "flwr": "1.41.0",
    }
    return HelloReply(**{**fields, **changes}).model_dump_json().encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, b"<html>welcome", PolicyError, "something else than an emr-fl server"),
        (200, reply(), PolicyError, "the server of another federation"),
        (404, b"", Unreachable, "HTTP 404"),
        (429, b"", Unreachable, "HTTP 429"),
        (500, b"", Unreachable, "HTTP 500"),
        (503, b"", Unreachable, "HTTP 503"),
        (302, b"", Unreachable, "HTTP 302"),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path, greet: Greet, status: int, body: bytes, kind: type[Exception], words: str
) -> None:
    """What another attempt may mend is `Unreachable`; what it can't is a `PolicyError`."""
    answer = lambda _: (status, [(b"location", b"https://127.0.0.1:1/")], [body])  # noqa: E731
    with server_with(tmp_path, [HOST], -HOUR, DAY, answer=answer) as kits:
        greeter = greet("north", kits)
        with pytest.raises(kind, match=words) as caught:
            greeter.hello()
        assert type(caught.value) is kind
        with pytest.raises((Unreachable, PolicyError)):
            greeter.probe(1000)


def test_nobody_there(tmp_path: Path, greet: Greet) -> None:
    kits = make_kits(tmp_path / "kits", free_port())
    with pytest.raises(Unreachable, match="can't be reached") as caught:
        greet("north", kits).hello()
    assert "outgoing TCP" in caught.value.do


def test_plain_http_is_not_spoken_to(tmp_path: Path, greet: Greet) -> None:
    import socket
    import threading

    port = free_port()
    kits = make_kits(tmp_path / "kits", port)
    heard: list[bytes] = []
    with socket.create_server((HOST, port)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                heard.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(Unreachable):
            greet("north", kits).hello()
        thread.join(20)
    assert heard and b"public_key" not in heard[0] and not heard[0].startswith(b"POST")


def test_the_operating_systems_authorities_do_not_count(greet: Greet, port: PublicPort) -> None:
    greeter = greet("north")
    context = greeter._client._transport._pool._ssl_context  # type: ignore[attr-defined]
    assert len(context.get_ca_certs()) == 1
