"""The public port as a stranger, a site and a thief of keys meet it: a real process, real TLS, a recording server behind."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from emr_fl_deploy.provision.changes import renew, revoke
from emr_fl_server.superlink import listening
from emr_fl_server.superlink.gateway import BODY_LIMIT, PASSED
from emr_fl_server.superlink.limits import MOST_ADDRESSES, Bucket, Limits
from emr_fl_shared.hello import HELLO_LIMIT, HELLO_PATH, PROBE_BYTES, PROBE_PATH, SIGNATURE_HEADER, HelloReply
from public_port import (
    HOST,
    PULL,
    PublicPort,
    Received,
    hello_of,
    key_header,
    public_key,
    public_port,
    sign_registry,
    signature,
    status_of,
    wait_until,
)

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="addresses 127.0.0.x")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """One gateway for the tests that leave it as it was. Each test speaks from an address of its own."""
    with public_port(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def own(tmp_path: Path) -> Iterator[PublicPort]:
    """A gateway for a test that changes it."""
    with public_port(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def watchful(tmp_path: Path) -> Iterator[PublicPort]:
    """The same, looking at the registry five times a second."""
    prelude = "from emr_fl_server.superlink import gateway; gateway.RELOAD_SECONDS = 0.2"
    with public_port(tmp_path, prelude=prelude) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """A gateway that waits one second for a request instead of twenty."""
    prelude = "from emr_fl_server.superlink import listening; listening.REQUEST_SECONDS = 1.0"
    with public_port(tmp_path_factory.mktemp("impatient"), prelude=prelude) as gateway:
        yield gateway


@pytest.fixture
def nothing_passed(port: PublicPort) -> Iterator[None]:
    before = port.upstream.begun
    yield
    assert port.upstream.begun == before


# --- what a site's node says


@pytest.mark.parametrize("name", sorted(PASSED))
def test_a_sites_requests_reach_the_superlink(port: PublicPort, name: str) -> None:
    answer = port.pull("north", HOST, f"/v1/fleet/{name}", content=name.encode())
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert (port.upstream.received[-1].path, port.upstream.received[-1].body) == (
        f"/v1/fleet/{name}",
        name.encode(),
    )


def test_bodies_are_whole_in_both_directions(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    up = os.urandom(6 * 2**20)
    chunks = [os.urandom(2**20) for _ in range(7)]
    monkeypatch.setattr(port.upstream, "answer", lambda _: (200, [(b"flwr-note", b"x")], iter(chunks)))
    answer = port.pull("north", HOST, "/v1/fleet/push-object", content=up)
    assert answer.content == b"".join(chunks) and answer.headers["flwr-note"] == "x"
    assert port.upstream.received[-1].body == up
    answer = port.pull("north", HOST, "/v1/fleet/push-object", content=iter([up[:1000], up[1000:]]))
    assert answer.status_code == 200 and port.upstream.received[-1].body == up


def test_an_answer_is_streamed_and_not_held(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield b"first" * 1000
        yield b"second"

    monkeypatch.setattr(port.upstream, "answer", lambda _: (200, [], chunks()))
    with (
        port.client() as client,
        client.stream("POST", PULL, headers=key_header(port.kits, "north")) as answer,
    ):
        got += [len(chunk) for chunk in answer.iter_raw()]
    assert sum(got) == 5006 and "content-length" not in answer.headers


def test_a_superlink_in_trouble_is_tried_again(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port.upstream, "answer", lambda _: (500, [], [b"database is locked"]))
    answer = port.pull("north", HOST)
    assert (answer.status_code, answer.content) == (503, b"")


@pytest.mark.parametrize("status", [200, 400, 401, 409])
def test_the_superlinks_own_answers_pass(
    port: PublicPort, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(port.upstream, "answer", lambda _: (status, [], [b"reason"]))
    answer = port.pull("north", HOST)
    assert (answer.status_code, answer.content) == (status, b"reason")


def test_only_flowers_headers_cross(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        port.upstream,
        "answer",
        lambda _: (200, [(b"set-cookie", b"a=b"), (b"x-inner", b"1"), (b"flwr-x", b"y")], []),
    )
    sent = {
        "x-forwarded-for": "10.0.0.9",
        "x-forwarded-proto": "http",
        "forwarded": "for=1",
        "cookie": "a=b",
        "authorization": "secret",
        "proxy-authorization": "secret",
        "connection": "flwr-signature",
        "flwr-signature": "c2ln",
        "flwr-timestamp": "2026",
        "content-type": "application/x-protobuf",
    }
    answer = port.pull("north", HOST, headers=sent)
    reached = port.upstream.received[-1].headers
    assert {name for name in reached if name in sent} == {
        "flwr-signature",
        "flwr-timestamp",
        "content-type",
        "connection",
    }
    assert (
        reached["connection"] == "keep-alive"
        and reached["accept-encoding"] != ""
        and reached["host"].startswith(HOST)
    )
    assert (
        "set-cookie" not in answer.headers
        and "x-inner" not in answer.headers
        and answer.headers["flwr-x"] == "y"
    )
    assert "server" not in answer.headers


def test_a_sign_of_life_needs_a_signature(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway knows a key; whether it is the key's owner who speaks, the SuperLink says."""
    monkeypatch.setattr(port.upstream, "answer", lambda _: (401, [], []))
    port.pull("south", HOST, content=bytes(1000))
    monkeypatch.undo()
    time.sleep(1.1)
    port.pull("north", HOST, content=bytes(1000))
    wait_until(lambda: "north" in port.presence, 5)
    assert "south" not in port.presence
    assert port.presence["north"]["bytes_up"] >= 1000 and port.presence["north"]["bytes_down"] >= 2


# --- who may not speak


def stranger(kind: str) -> str:
    if kind == "unknown":
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        return base64.b64encode(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).decode()
    return {"none": "", "no base64": "!!!", "rubbish": "AAAA", "huge": "A" * 8000, "fingerprint": "0" * 64}[
        kind
    ]


@pytest.mark.parametrize("kind", ["unknown", "none", "no base64", "rubbish", "huge", "fingerprint"])
def test_a_stranger_is_refused(port: PublicPort, nothing_passed: None, kind: str) -> None:
    with port.client("127.0.1.1") as client:
        answer = client.post(PULL, content=b"x", headers={"flwr-public-key": stranger(kind)})
    assert (answer.status_code, answer.content) == (403, b"")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("site", ["revoked", "expired", "future"])
def test_a_key_that_does_not_count_is_refused(port: PublicPort, nothing_passed: None, site: str) -> None:
    assert port.pull(site, "127.0.1.2").status_code == 403


def test_the_last_of_two_keys_counts_here_and_behind(port: PublicPort, nothing_passed: None) -> None:
    """One key for the gateway and another for the SuperLink would be a way round the registry."""
    keys = [key_header(port.kits, site)["flwr-public-key"] for site in ("north", "revoked")]
    head = f"POST {PULL} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n".encode()
    lines = b"".join(f"flwr-public-key: {key}\r\n".encode() for key in keys)
    assert port.raw(head + lines + b"\r\n", "127.0.1.3") == 403


REVOKE_NORTH = lambda document: [  # noqa: E731
    entry.update(revoked=True) for entry in document["sites"] if entry["name"] == "north"
]


def test_revoked_while_it_runs(tmp_path: Path) -> None:
    """By what `server revoke` does, also on a connection that was open before."""
    with public_port(tmp_path, all_valid=True) as own, own.connection() as connection:
        assert asked_again(own, connection, "north") == 200
        assert asked_again(own, connection, "south") == 200
        revoke(own.kits, "north", "left the federation")
        wait_until(lambda: own.pull("north", HOST).status_code == 403, 5.0)
        passed = own.upstream.begun
        assert own.pull("north", HOST).status_code == 403 and own.upstream.begun == passed
        assert own.hello("north", HOST).json()["standing"] == "revoked"
        assert asked_again(own, connection, "south") == 200
        assert asked_again(own, connection, "north") == 403
        assert own.upstream.begun == passed + 1


def asked_again(port: PublicPort, connection: ssl.SSLSocket, site: str) -> int:
    """One more request on a connection that stays open."""
    head = HEAD.replace("KEY", key_header(port.kits, site)["flwr-public-key"])
    connection.sendall((head + "content-length: 0\r\n\r\n").encode())
    status = status_of(connection)
    connection.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while connection.recv(65536):
            pass
    connection.settimeout(20.0)
    return status


def test_a_registry_that_is_no_good_turns_nobody_away_for_good(watchful: PublicPort) -> None:
    """403 would end every site's node, and with it the federation; 503 is tried again."""
    path = watchful.kits / "server" / "sites.json"
    assert watchful.pull("north", HOST).status_code == 200
    good, before = path.read_bytes(), watchful.upstream.begun
    path.write_bytes(good.replace(b'"revoked": true', b'"revoked": false'))
    time.sleep(0.3)
    seen = set()
    for _ in range(10):  # over more than one look at the file
        seen.add(watchful.pull("north", HOST).status_code)
        time.sleep(0.1)
    assert seen == {503} and watchful.upstream.begun == before
    assert (
        watchful.pull("revoked", HOST).status_code == 503 and watchful.hello("north", HOST).status_code == 503
    )
    path.unlink()
    assert watchful.pull("north", HOST).status_code == 503
    path.write_bytes(good)
    wait_until(lambda: watchful.pull("north", HOST).status_code == 200, 3.0)
    assert watchful.pull("revoked", "127.0.1.9").status_code == 403
    assert "signature does not fit" in watchful.log.read_text()


def test_an_older_registry_brings_nobody_back(watchful: PublicPort) -> None:
    path = watchful.kits / "server" / "sites.json"
    kept = {name: path.with_name(name).read_bytes() for name in ("sites.json", "sites.json.sig")}
    sign_registry(watchful.kits, REVOKE_NORTH)
    wait_until(lambda: watchful.pull("north", HOST).status_code == 403, 3.0)
    for name, data in kept.items():
        path.with_name(name).write_bytes(data)
    time.sleep(0.3)
    for _ in range(5):
        assert watchful.pull("north", HOST).status_code == 503
        time.sleep(0.3)


# --- what is not there


CLOSED = [
    *(("POST", f"/v1/fleet/{name}") for name in ("register-node", "unregister-node", "", "pull-messages/", "x")),
    ("POST", "/v1/control/start-run"),
    ("POST", "/v1/control/list-nodes"),
    ("POST", "/v1/runtime/acquire-task"),
    ("POST", "/v1/emr-fl/"),
    ("POST", "/"),
    *(("GET", path) for path in ("/", "/docs", "/openapi.json", "/redoc", "/metrics", "/health", PULL, HELLO_PATH)),
    *((method, PULL) for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PRI", "post")),
    ("POST", PULL + "?x=1"),
    ("POST", HELLO_PATH + "?x"),
    ("POST", "/v1/fleet/../control/start-run"),
    ("POST", "/v1/fleet/./pull-messages"),
    ("POST", "/v1/fleet/%2e%2e/control/start-run"),
    ("POST", "/v1/fleet/..%2fcontrol%2fstart-run"),
    ("POST", "/v1/fleet/pull%2dmessages"),
    ("POST", "/v1/fleet%2fpull-messages"),
    ("POST", "//v1/fleet/pull-messages"),
    ("POST", "/v1//fleet/pull-messages"),
    ("POST", "/v1/fleet//push-object"),
    ("POST", "/v1/fleet/pull-messages/../../control/start-run"),
    ("POST", "/v1/fleet/pull-messages%00"),
    ("POST", "/v1/fleet/pull-messages;/../x"),
    ("POST", "/V1/Fleet/Pull-Messages"),
    ("POST", "https://127.0.0.1/v1/control/start-run"),
    ("POST", "*"),
    ("POST", "/v1/fleet/%ff%fe"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target"), [pytest.param(*case, id=" ".join(case)) for case in CLOSED])
def test_everything_else_is_not_there(
    port: PublicPort, nothing_passed: None, method: str, target: str
) -> None:
    """Even for a site that is registered."""
    key = key_header(port.kits, "north")["flwr-public-key"]
    request = f"{method} {target} HTTP/1.1\r\nhost: x\r\nflwr-public-key: {key}\r\ncontent-length: 0\r\n\r\n"
    assert port.raw(request.encode(), HOST) == 404


HEAD = f"POST {PULL} HTTP/1.1\r\nhost: x\r\nflwr-public-key: KEY\r\n"
MALFORMED = [
    pytest.param(
        HEAD + "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="both lengths"
    ),
    pytest.param(
        HEAD + "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", id="both, other order"
    ),
    pytest.param(HEAD + "content-length: 3\r\ncontent-length: 4\r\n\r\nabc", id="two lengths"),
    pytest.param(HEAD + "content-length: -1\r\n\r\n", id="negative length"),
    pytest.param(HEAD + "content-length: 0x3\r\n\r\nabc", id="hexadecimal length"),
    pytest.param(HEAD + "transfer-encoding: gzip\r\n\r\n", id="another encoding"),
    pytest.param(HEAD + "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", id="chunked twice"),
    pytest.param(HEAD + "transfer-encoding : chunked\r\n\r\n0\r\n\r\n", id="space before the colon"),
    pytest.param(HEAD + "transfer-encoding: chunked\r\n\r\nzz\r\n", id="broken chunk"),
    pytest.param(HEAD + "x: a\0b\r\n\r\n", id="NUL in a header"),
    pytest.param(HEAD + f"x: {'a' * 100_000}\r\n\r\n", id="headers of 100 KB"),
    pytest.param("GET\r\n\r\n", id="no request"),
    pytest.param("\x16\x03\x01" * 50, id="rubbish"),
]


@pytest.mark.parametrize("size", [pytest.param(n, id=f"{n} bytes") for n in (40_000, 100_000, 200_000)])
def test_headers_over_the_limit(port: PublicPort, nothing_passed: None, size: int) -> None:
    """Also those that arrive in one piece: h11 itself bounds only what has not ended yet."""
    head = HEAD.replace("KEY", key_header(port.kits, "north")["flwr-public-key"])
    one = f"{head}flwr-x: {'a' * size}\r\ncontent-length: 0\r\n\r\n".encode()
    assert {port.raw(one, HOST) for _ in range(5)} <= {0, 400, 431}
    many = head + "".join(f"x-{number}: {'b' * 90}\r\n" for number in range(size // 90))
    assert port.raw(f"{many}content-length: 0\r\n\r\n".encode(), HOST) in (0, 400, 431)


@pytest.mark.parametrize("request_text", MALFORMED)
def test_requests_that_two_servers_might_read_differently(port: PublicPort, request_text: str) -> None:
    before = len(port.upstream.received)
    text = request_text.replace("KEY", key_header(port.kits, "north")["flwr-public-key"])
    assert port.raw(text.encode("latin-1"), HOST) in (0, 400, 431, 501, 503)
    assert len(port.upstream.received) == before


def test_a_second_request_in_the_body_is_a_body(port: PublicPort) -> None:
    before = len(port.upstream.received)
    inner = b"POST /v1/control/start-run HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    port.pull("north", HOST, content=inner)
    assert [request.body for request in port.upstream.received[before:]] == [inner]


# --- too much, too fast, too slow


def test_a_body_over_the_limit(port: PublicPort) -> None:
    before = len(port.upstream.received)
    head = HEAD.replace("KEY", key_header(port.kits, "north")["flwr-public-key"])
    assert port.raw((head + f"content-length: {BODY_LIMIT + 1}\r\n\r\n").encode(), HOST) == 413
    piece = b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
    with port.connection() as connection:
        connection.sendall((head + "transfer-encoding: chunked\r\n\r\n").encode())
        try:
            for _ in range(BODY_LIMIT // 2**20 + 2):
                connection.sendall(piece)
        except OSError:
            pass
        assert status_of(connection) in (413, 0)
    assert len(port.upstream.received) == before
    assert port.pull("north", HOST, content=bytes(BODY_LIMIT)).status_code == 200


def test_strangers_are_slowed_down(port: PublicPort) -> None:
    with port.client("127.0.1.20") as client:
        statuses = [client.post(PULL, headers={"flwr-public-key": "AAAA"}).status_code for _ in range(40)]
        assert client.post(HELLO_PATH, content=b"x").status_code == 429
    assert statuses[:20] == [403] * 20 and statuses.count(429) >= 10
    with port.client("127.0.1.21") as client:
        assert client.post(PULL).status_code == 403
        claim = {"x-forwarded-for": "10.9.9.9"}
    with port.client("127.0.1.20") as client:
        statuses = [client.post(PULL, headers=claim).status_code for _ in range(6)]
    assert 429 in statuses
    assert port.pull("south", "127.0.1.20").status_code == 200  # behind the same address as a site


def test_signed_greetings_cost_an_address_nothing(port: PublicPort) -> None:
    """A hundred sites behind one address."""
    assert {port.hello("north", "127.0.1.30").status_code for _ in range(40)} == {200}


def test_a_site_that_is_too_fast_is_told_to_wait(own: PublicPort) -> None:
    """By 503, which Flower's node tries again; 429 would end it."""
    key = key_header(own.kits, "north")["flwr-public-key"]
    request = (
        f"POST {PULL} HTTP/1.1\r\nhost: x\r\nflwr-public-key: {key}\r\ncontent-length: 0\r\n\r\n".encode()
    )
    found: set[bytes] = set()
    until = time.monotonic() + 30
    while b"503" not in found and time.monotonic() < until:
        with own.connection() as connection:
            connection.sendall(request * 300)
            connection.settimeout(3.0)
            data = b""
            try:
                while data.count(b"HTTP/1.1 ") < 300 and (piece := connection.recv(65536)):
                    data += piece
            except TimeoutError:
                pass
            found |= {part[:3] for part in data.split(b"HTTP/1.1 ")[1:]}
    assert found == {b"200", b"503"}
    assert own.pull("south", HOST).status_code == 200


def test_buckets() -> None:
    bucket = Bucket(rate=0.0, burst=2.0)
    assert [bucket.take(), bucket.take(), bucket.take()] == [True, True, False]
    bucket.give_back()
    assert [bucket.take(), bucket.take()] == [True, False]
    limits = Limits()
    assert limits.address("10.0.0.1") is limits.address("10.0.0.1") is not limits.address("10.0.0.2")
    assert (
        limits.address("2001:db8::1")
        is limits.address("2001:db8::ffff:1")
        is not limits.address("2001:db8:0:1::1")
    )
    assert limits.address("::ffff:10.0.0.1") is limits.address("10.0.0.1")
    assert limits.address("fe80::1%eth0") is limits.address("fe80::2")


def test_strangers_do_not_fill_the_memory_nor_empty_the_buckets() -> None:
    limits = Limits()
    site, busy = limits.site("north"), limits.address("10.0.0.1")
    for number in range(MOST_ADDRESSES + 500):
        limits.address(f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}")
        assert limits.address("10.0.0.1") is busy
    assert len(limits._addresses) == MOST_ADDRESSES and limits.site("north") is site


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"", id="silence"),
        pytest.param(b"POST / HTTP/1.1\r\n", id="headers without end"),
        pytest.param(b"second", id="second request without end"),
    ],
)
def test_a_connection_that_asks_for_nothing_is_ended(impatient: PublicPort, words: bytes) -> None:
    """Neither silence, nor a header a second, nor a second request that never ends, holds a connection."""
    with impatient.connection() as connection:
        if words == b"second":
            connection.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" % PULL.encode())
            connection.sendall(
                b"flwr-public-key: %s\r\n\r\n"
                % key_header(impatient.kits, "north")["flwr-public-key"].encode()
            )
            assert status_of(connection) == 200
            words = b"POST / HTTP/1.1\r\n"
        connection.sendall(words)
        began = time.monotonic()
        connection.settimeout(0.3)
        while time.monotonic() < began + 8:
            try:
                if words:
                    connection.sendall(b"x: y\r\n")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.5 < time.monotonic() - began < 4.0


def test_a_request_that_takes_its_time_is_served(
    impatient: PublicPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only headers are hurried: a body on a slow line, and an answer that takes long, are not."""

    def slow(_: Received) -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"a"
            time.sleep(1.2)
            yield b"b"

        return 200, [], chunks()

    def body() -> Iterator[bytes]:
        for _ in range(5):
            time.sleep(0.3)
            yield b"x"

    monkeypatch.setattr(impatient.upstream, "answer", slow)
    answer = impatient.pull("north", HOST, content=body())
    assert answer.content == b"ab" and impatient.upstream.received[-1].body == b"x" * 5


def test_one_address_cannot_take_all_connections(port: PublicPort) -> None:
    opened: list[ssl.SSLSocket] = []
    try:
        for _ in range(listening.NEW_CONNECTIONS + 8):
            plain = socket.create_connection((HOST, port.port), 5.0, source_address=("127.0.1.50", 0))
            try:
                opened.append(port.context().wrap_socket(plain, server_hostname=HOST))
            except OSError:
                plain.close()
        closed = 0
        time.sleep(0.5)
        for connection in opened:
            connection.settimeout(0.01)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed += 1
        assert closed + listening.NEW_CONNECTIONS + 8 - len(opened) >= 8
        assert port.pull("north", "127.0.1.51").status_code == 200
    finally:
        for connection in opened:
            connection.close()


# --- TLS


def openssl(port: PublicPort, *arguments: str) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{HOST}:{port.port}", *arguments],
        input=b"",
        capture_output=True,
        timeout=20,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls_is_refused(port: PublicPort, version: str) -> None:
    said = openssl(port, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said or "Cipher    : 0000" in said
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((HOST, port.port), 5.0) as plain, pytest.raises(OSError):
        context.wrap_socket(plain)


@pytest.mark.parametrize(("version", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_todays_tls_with_forward_secrecy(port: PublicPort, version: str, name: str) -> None:
    said = openssl(port, version)
    assert f"New, {name}, Cipher is" in said
    cipher = said.split("Cipher is ")[1].split()[0]
    assert "GCM" in cipher or "CHACHA20" in cipher
    assert "Secure Renegotiation IS NOT" in said or name == "TLSv1.2"


@pytest.mark.parametrize(
    "cipher", ["ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES256-GCM-SHA384"]
)
def test_weak_ciphers_are_refused(port: PublicPort, cipher: str) -> None:
    assert "Cipher is (NONE)" in openssl(port, "-tls1_2", "-cipher", cipher)


def test_plaintext_gets_no_answer(port: PublicPort, nothing_passed: None) -> None:
    with socket.create_connection((HOST, port.port), 5.0) as plain:
        plain.sendall(f"POST {PULL} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        plain.settimeout(10.0)
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(100).startswith(b"HTTP")


def test_a_renewed_certificate_serves_the_next_connection(tmp_path: Path) -> None:
    prelude = "from emr_fl_server.superlink import listening; listening.RENEW_SECONDS = 0.3"
    with public_port(tmp_path, all_valid=True, prelude=prelude) as own:
        renewed(own)


def renewed(own: PublicPort) -> None:
    def serial() -> int:
        with own.connection() as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    before = serial()
    with own.client() as client:
        assert client.post(PULL, headers=key_header(own.kits, "north")).status_code == 200
    renew(own.kits, "server")
    on_disk = x509.load_pem_x509_certificate((own.kits / "server/server.cert.pem").read_bytes()).serial_number
    assert on_disk != before
    wait_until(lambda: serial() == on_disk, 5.0)
    # a pair that does not fit is not served, and does not break what is
    (own.kits / "server/server.key.pem").write_bytes((own.kits / "authority/signing.key.pem").read_bytes())
    time.sleep(0.7)
    assert serial() == on_disk
    assert own.pull("north", HOST).status_code == 200


# --- the SuperLink behind


def test_a_superlink_that_is_down_is_waited_for(own: PublicPort) -> None:
    assert own.pull("north", HOST).status_code == 200
    own.upstream.stop()
    assert [own.pull("north", HOST).status_code for _ in range(3)] == [503] * 3
    own.upstream.start()
    assert own.pull("north", HOST, content=bytes(2**20)).status_code == 200


def test_an_answer_that_breaks_off_is_no_answer(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Received) -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError

        return 200, [(b"content-length", b"8")], chunks()

    monkeypatch.setattr(port.upstream, "answer", broken)
    with pytest.raises(httpx.HTTPError):
        port.pull("north", HOST)
    monkeypatch.undo()
    assert port.pull("north", HOST).status_code == 200
    assert "Traceback" not in port.log.read_text()


def test_a_site_that_goes_away_in_the_middle_sends_nothing(port: PublicPort) -> None:
    before = len(port.upstream.received)
    head = HEAD.replace("KEY", key_header(port.kits, "north")["flwr-public-key"])
    with port.connection() as connection:
        connection.sendall((head + "content-length: 100\r\n\r\nhalf").encode())
        time.sleep(0.3)
    time.sleep(0.5)
    assert len(port.upstream.received) == before
    assert port.pull("north", HOST).status_code == 200
    assert "Traceback" not in port.log.read_text()


# --- hello and probe


@pytest.mark.parametrize(
    ("site", "changes", "standing"),
    [
        pytest.param("north", {}, "registered", id="registered"),
        pytest.param("revoked", {}, "revoked", id="revoked"),
        pytest.param("expired", {}, "expired", id="expired"),
        pytest.param("future", {}, "not yet valid", id="not yet valid"),
        pytest.param("north", {"time": datetime.now(UTC) - timedelta(hours=1)}, "clock", id="an hour behind"),
        pytest.param("north", {"time": datetime.now(UTC) + timedelta(hours=1)}, "clock", id="an hour ahead"),
        pytest.param(
            "revoked",
            {"time": datetime.now(UTC) + timedelta(hours=1)},
            "revoked",
            id="revoked and an hour ahead",
        ),
    ],
)
def test_hello_says_the_standing(port: PublicPort, site: str, changes: dict[str, Any], standing: str) -> None:
    (port.folder / "progress.json").write_text('{"phase": "training", "round": 3, "rounds": 9}')
    answer = port.hello(site, "127.0.1.60", **changes)
    assert answer.status_code == 200
    reply = HelloReply.model_validate_json(answer.content)
    assert (reply.site, reply.standing) == (site, standing)
    member = standing in ("registered", "clock")
    assert (reply.phase, reply.round, reply.rounds) == (("training", 3, 9) if member else ("starting", 0, 0))
    assert abs((reply.time - datetime.now(UTC)).total_seconds()) < 5


def test_hello_says_how_long_the_node_was_silent(own: PublicPort) -> None:
    def silent() -> float:
        return HelloReply.model_validate_json(own.hello("north", HOST).content).node_silent

    first = silent()
    time.sleep(1.2)
    assert silent() > first + 1.0
    own.pull("south", HOST)
    assert silent() > 1.2
    own.pull("north", HOST)
    assert silent() < 1.0
    own.upstream.stop()  # a node that asks in vain is not silent
    time.sleep(1.2)
    own.pull("north", HOST)
    assert silent() < 1.0


def test_an_incarnation_counts_when_flower_has_taken_the_node_in(
    port: PublicPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower refuses a node for a while whose predecessor was killed: until then the predecessor's messages are the last."""

    def activate(status: int) -> None:
        monkeypatch.setattr(port.upstream, "answer", lambda _: (status, [], [b"x"]))
        answer = port.pull("south", "127.0.1.61", "/v1/fleet/activate-node", content=b"x")
        assert answer.status_code == status

    def known() -> str:
        return str(port.presence.get("south", {}).get("incarnation", ""))

    before = known()
    port.hello("south", "127.0.1.61", incarnation="0a" * 8)
    activate(412)
    assert known() == before
    activate(200)
    assert known() == "0a" * 8
    port.hello("south", "127.0.1.61")
    port.hello("south", "127.0.1.61", incarnation="0b" * 8, time=datetime.now(UTC) - timedelta(hours=1))
    port.hello("revoked", "127.0.1.61", incarnation="0c" * 8)
    activate(200)
    assert known() == "0a" * 8
    assert "revoked" not in port.presence


def post_hello(port: PublicPort, body: bytes, headers: dict[str, str], source: str = "127.0.1.62") -> int:
    with port.client(source) as client:
        return client.post(HELLO_PATH, content=body, headers=headers).status_code


def test_hello_refuses_what_is_not_signed_by_the_key(port: PublicPort, nothing_passed: None) -> None:
    body = hello_of(port.kits, "north").model_dump_json().encode()
    good = signature(port.kits, "north", body)
    assert post_hello(port, body, good) == 200
    assert post_hello(port, body, {}) == 403
    assert post_hello(port, body, {SIGNATURE_HEADER: "!!"}) == 403
    assert post_hello(port, body, {SIGNATURE_HEADER: base64.b64encode(bytes(104)).decode()}) == 403
    assert post_hello(port, body, signature(port.kits, "south", body)) == 403
    assert post_hello(port, body + b" ", good) == 403
    unknown = ec.generate_private_key(ec.SECP384R1())
    text = unknown.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    foreign = hello_of(port.kits, "north", public_key=text).model_dump_json().encode()
    assert post_hello(port, foreign, signature(port.kits, "north", foreign)) == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"{}", 400, id="no fields"),
        pytest.param(b"null", 400, id="null"),
        pytest.param(b"\xff\xfe", 400, id="no UTF-8"),
        pytest.param(b"[" * 10_000, 400, id="nested"),
        pytest.param(b"x" * (HELLO_LIMIT + 1), 413, id="oversized"),
        pytest.param(b'{"protocol":2}', 400, id="another protocol"),
    ],
)
def test_hello_refuses_what_is_malformed(
    port: PublicPort, nothing_passed: None, body: bytes, status: int
) -> None:
    assert post_hello(port, body, {SIGNATURE_HEADER: "AAAA"}, "127.0.1.63") == status


def probe(port: PublicPort, site: str, size: int, signed: bool = True, **changes: Any) -> httpx.Response:
    body = hello_of(port.kits, site, **changes).model_dump_json().encode()
    headers = signature(port.kits, site, body) if signed else {}
    with port.client("127.0.1.70") as client:
        return client.post(PROBE_PATH, content=body + b"\n" + bytes(size), headers=headers)


def test_probe_sends_as_much_back(port: PublicPort, nothing_passed: None) -> None:
    for size in (0, 1, 10_000, PROBE_BYTES):
        answer = probe(port, "north", size)
        assert answer.status_code == 200 and len(answer.content) == size
        assert size < 100 or answer.content.count(b"\0") < size // 50
    assert probe(port, "north", PROBE_BYTES + 1).status_code == 413


def test_probe_serves_no_stranger(port: PublicPort, nothing_passed: None) -> None:
    assert probe(port, "north", 100, signed=False).status_code == 403
    assert probe(port, "revoked", 100).status_code == 403
    assert probe(port, "north", 100, time=datetime.now(UTC) - timedelta(hours=1)).status_code == 403
    with port.client("127.0.1.71") as client:
        assert client.post(PROBE_PATH, content=b"x" * 10).status_code == 400


def test_a_strangers_probe_is_not_even_read(port: PublicPort) -> None:
    """Refused after the first line: four MiB from each of 500 strangers would be two GiB of memory."""
    with port.connection("127.0.1.72") as connection:
        connection.sendall(
            b"POST /v1/emr-fl/probe HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n{}\n" % PROBE_BYTES
        )
        assert status_of(connection) == 400


# --- what stays


def test_nothing_of_a_site_is_in_the_log_or_the_arguments(port: PublicPort) -> None:
    secret = base64.b64encode(b"secret-of-a-record").decode()
    port.pull("north", HOST, content=b"patient 440106199001011234", headers={"flwr-signature": secret})
    port.pull("revoked", "127.0.1.80", content=b"patient 440106199001011234")
    port.raw(b"\x00\x01rubbish secret-of-a-record\r\n\r\n", "127.0.1.81")
    said = port.log.read_text()
    arguments = Path(f"/proc/{port.process.pid}/cmdline").read_bytes().decode()
    for text in (said, arguments):
        for word in (
            "440106",
            "secret-of",
            secret,
            "PRIVATE",
            public_key(port.kits, "north").decode()[30:60],
        ):
            assert word not in text
    assert port.log.stat().st_mode & 0o777 == 0o600
    assert (port.folder / "presence.json").stat().st_mode & 0o777 == 0o600
