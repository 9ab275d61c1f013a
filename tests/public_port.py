"""A federation's public port for tests: the real gateway as a process, and behind it an HTTPS server that records."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from emr_fl_deploy.provision.certificates import certificate_pem, key_pem, new_server_key, server_certificate
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_shared.config import settings_from
from emr_fl_shared.hello import HELLO_PATH, SIGNATURE_HEADER, Hello, sign_hello
from emr_fl_shared.kit import SITES_DOMAIN, sign_bytes
from emr_fl_shared.kit.keys import load_node_public_key, load_server_key, load_signing_key
from emr_fl_shared.kit.signing import signature_text
from emr_fl_shared.loopback import Loopback, make_loopback
from emr_fl_shared.processes import free_port, start_child, stop_child

HOST = "127.0.0.1"
SITES = ("north", "south", "revoked", "expired", "future")
PULL = "/v1/fleet/pull-messages"


def make_kits(
    folder: Path,
    port: int,
    name: str = "study",
    addresses: Iterable[str] = (HOST,),
    *,
    all_valid: bool = False,
) -> Path:
    """Kits that are valid now, but for three sites whose names say why not (unless `all_valid`)."""
    server = {"addresses": list(addresses), "port": port, "sites": list(SITES)}
    provision(settings_from({"federation": {"name": name}, "server": server}), folder)
    now = datetime.now(UTC)

    def change(document: dict[str, Any]) -> None:
        for entry in document["sites"]:
            if entry["name"] == "revoked":
                entry["revoked"] = True
            elif entry["name"] == "expired":
                entry["not_after"] = (now - timedelta(minutes=1)).isoformat()
            elif entry["name"] == "future":
                entry["not_before"] = (now + timedelta(hours=1)).isoformat()

    if not all_valid:
        sign_registry(folder, change)
    return folder


def sign_registry(kits: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Replace `sites.json` by a changed one, signed by the federation."""
    path = kits / "server" / "sites.json"
    document = json.loads(path.read_bytes())
    change(document)
    document["revision"] += 1
    data = json.dumps(document).encode()
    key = load_signing_key((kits / "authority" / "signing.key.pem").read_bytes(), where="")
    before = path.with_name("sites.json.sig").read_bytes().splitlines()
    signatures = [sign_bytes(key, SITES_DOMAIN, data), *(base64.b64decode(line) for line in before[:1])]
    path.with_name("sites.json.sig").write_bytes(signature_text(signatures))
    part = path.with_name("sites.part")
    part.write_bytes(data)
    part.replace(path)


def public_key(kits: Path, site: str) -> bytes:
    """A site's public key as its SuperNode sends it."""
    key = load_node_public_key((kits / "sites" / site / "node.pub").read_bytes())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_header(kits: Path, site: str) -> dict[str, str]:
    return {"flwr-public-key": base64.b64encode(public_key(kits, site)).decode()}


def hello_of(kits: Path, site: str, **changes: Any) -> Hello:
    text = (kits / "sites" / site / "node.pub").read_text().strip()
    fields = {"public_key": text, "time": datetime.now(UTC), "emr_fl": "0.1.0", "flwr": "1.41.0", **changes}
    return Hello(**fields)


def signature(kits: Path, site: str, body: bytes) -> dict[str, str]:
    key = load_ssh_private_key((kits / "sites" / site / "node.key").read_bytes(), None)
    return {SIGNATURE_HEADER: sign_hello(key, body)}  # type: ignore[arg-type]


def wait_until(happened: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll; fails the test when it does not happen in time."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@dataclass
class Received:
    """A request as it reached the server behind the gateway."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """An HTTPS server in a thread. Answers with `answer(request)`: status, headers, chunks."""

    loopback: Loopback
    port: int = field(default_factory=free_port)
    received: list[Received] = field(default_factory=list)
    begun: int = 0
    answer: Callable[[Received], tuple[int, list[tuple[bytes, bytes]], Iterable[bytes]]] = field(
        default=lambda request: (200, [(b"content-type", b"application/x-protobuf")], [b"ok"])
    )

    def start(self) -> None:
        config = uvicorn.Config(
            self._app,
            host=HOST,
            port=self.port,
            ssl_certfile=self.loopback.certificate,
            ssl_keyfile=self.loopback.key,
            log_level="critical",
            lifespan="off",
            interface="asgi3",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Received(scope["path"], headers, body)
        self.received.append(request)
        status, more, chunks = self.answer(request)
        await send({"type": "http.response.start", "status": status, "headers": more})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class PublicPort:
    """A gateway as `server start` runs it."""

    kits: Path
    folder: Path
    port: int
    upstream: Upstream
    prelude: str = ""
    """Statements before the gateway's own, to shorten its times."""

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"

    @property
    def presence(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "presence.json").read_text()))
        except OSError:
            return {}

    def start(self) -> None:
        given = {
            "kit": str(self.kits / "server"),
            "folder": str(self.folder),
            "upstream": f"https://{HOST}:{self.upstream.port}",
            "authority": str(self.upstream.loopback.authority),
            "host": HOST,
            "port": self.port,
        }
        module = "emr_fl_server.superlink.gateway"
        how = ["-c", f"{self.prelude}\nfrom {module} import main; main()"] if self.prelude else ["-m", module]
        self.process = start_child([*how, json.dumps(given)], log=self.log)
        wait_until(self._open)

    def _open(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection((HOST, self.port), 1.0).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        stop_child(self.process)

    def context(self) -> ssl.SSLContext:
        """Trusts the federation's authority only."""
        return ssl.create_default_context(cafile=str(self.kits / "authority" / "ca.cert.pem"))

    def client(self, source: str = HOST) -> httpx.Client:
        """A client whose connections come from `source`, a loopback address with a rate limit of its own."""
        transport = httpx.HTTPTransport(
            verify=self.context(), local_address=source, limits=httpx.Limits(max_keepalive_connections=0)
        )
        return httpx.Client(base_url=f"https://{HOST}:{self.port}", transport=transport, timeout=30.0)

    def hello(self, site: str, source: str, **changes: Any) -> httpx.Response:
        body = hello_of(self.kits, site, **changes).model_dump_json().encode()
        with self.client(source) as client:
            return client.post(HELLO_PATH, content=body, headers=signature(self.kits, site, body))

    def pull(self, site: str, source: str, path: str = PULL, **options: Any) -> httpx.Response:
        options.setdefault("content", b"question")
        headers = {**key_header(self.kits, site), **options.pop("headers", {})}
        with self.client(source) as client:
            return client.post(path, headers=headers, **options)

    @contextmanager
    def connection(self, source: str = HOST) -> Iterator[ssl.SSLSocket]:
        """A bare TLS connection, for what no client library sends."""
        plain = socket.create_connection((HOST, self.port), 20.0, source_address=(source, 0))
        with plain, self.context().wrap_socket(plain, server_hostname=HOST) as connection:
            yield connection

    def raw(self, request: bytes, source: str) -> int:
        """Send bytes, return the status of what comes back; 0 where the connection is just closed."""
        with self.connection(source) as connection:
            with suppress(OSError):
                connection.sendall(request)
            return status_of(connection)


def status_of(connection: ssl.SSLSocket) -> int:
    """The status of the response on a connection; 0 where there is none."""
    try:
        line = connection.recv(65536).partition(b"\r\n")[0]
    except (ConnectionError, ssl.SSLError):
        return 0
    return int(line.split()[1]) if line else 0


@contextmanager
def public_port(folder: Path, *, all_valid: bool = False, prelude: str = "") -> Iterator[PublicPort]:
    """Kits, upstream and gateway in `folder`; everything is ended with the block."""
    port = free_port()
    kits = make_kits(folder / "kits", port, all_valid=all_valid)
    loopback = folder / "loopback"
    loopback.mkdir(parents=True)
    run = folder / "superlink"
    run.mkdir()
    upstream = Upstream(make_loopback(loopback))
    upstream.start()
    gateway = PublicPort(kits, run, port, upstream, prelude)
    try:
        gateway.start()
        yield gateway
    finally:
        if hasattr(gateway, "process"):
            gateway.stop()
        upstream.stop()


def authority_of(kits: Path) -> tuple[x509.Certificate, Any]:
    folder = kits / "authority"
    key = load_server_key((folder / "ca.key.pem").read_bytes(), where="")
    return x509.load_pem_x509_certificate((folder / "ca.cert.pem").read_bytes()), key


@contextmanager
def server_with(
    folder: Path, addresses: list[str], begins: timedelta, ends: timedelta, **answer: Any
) -> Iterator[Path]:
    """Kits, and at their port an HTTPS server with a certificate of their authority."""
    port = free_port()
    kits = make_kits(folder / "kits", port)
    authority, authority_key = authority_of(kits)
    key, now = new_server_key(), datetime.now(UTC)
    certificate = server_certificate(
        key.public_key(), addresses, authority, authority_key, now + begins, now + ends
    )
    (folder / "cert.pem").write_bytes(certificate_pem(certificate))
    (folder / "key.pem").write_bytes(key_pem(key))
    files: Any = SimpleNamespace(certificate=folder / "cert.pem", key=folder / "key.pem")
    server = Upstream(files, port, **answer)
    server.start()
    try:
        yield kits
    finally:
        server.stop()
