"""The one public port: TLS, registered keys only, Flower's Fleet API and nothing else.

In flwr 1.41 the SuperLink serves Fleet, Control and Runtime API on one port, and whoever reaches Control may submit a run. So
the SuperLink listens on the loopback address only, and this process passes on what a site's node may say:

* `POST /v1/fleet/NAME` for the names in `PASSED`, from a key that the federation's signed registry holds and that is
  neither revoked nor expired *now* (the file is read again when it changes), within limits of size and rate;
* `POST /v1/emr-fl/hello` and `/probe`: who are you, and how fast is the line (`emr_fl_shared.hello`);
* everything else is 404. Bodies are streamed in both directions, never held.

The SuperLink checks the node's signature; this process only decides whether a key may speak at all. The certificate is
read again when it is renewed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from emr_fl_server.superlink.presence import PresenceBoard, read_nodes
from emr_fl_server.superlink.status import read_progress
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.hello import (
    HELLO_LIMIT,
    HELLO_PATH,
    PROBE_BYTES,
    PROBE_PATH,
    SIGNATURE_HEADER,
    Hello,
    HelloReply,
    Standing,
    clock_fits,
    parse_hello,
    signed_by,
)
from emr_fl_shared.kit import Registry, ServerKit, SiteEntry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FLEET = "/v1/fleet/"
ACTIVATE = FLEET + "activate-node"
PASSED = frozenset(
    {
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    }
)
"""Not among them: `register-node` and `unregister-node`. Who takes part is decided by the kits."""

KEY_HEADER = "flwr-public-key"
BODY_LIMIT = 16 * 2**20
"""Flower cuts arrays into chunks of 5 MiB; nothing that a node sends in one request is larger than a few of them."""
REQUESTS_PER_SECOND, BURST = 100.0, 400.0
STRANGERS_PER_SECOND, STRANGERS_BURST = 2.0, 20.0
RELOAD_SECONDS = 1.0
UPSTREAM_SECONDS = 120.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host"})


class TooLarge(Exception):
    """A request body exceeded the limit while it was passed on."""


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


@dataclass
class Gateway:
    """The ASGI application. `kit` is the server's kit, `folder` the run's `superlink/`, `upstream` the SuperLink's URL."""

    kit: ServerKit
    folder: Path
    upstream: str
    authority: Path
    board: PresenceBoard
    _registry: Registry | None = None
    _stamp: tuple[int, int] = (0, 0)
    _looked: float = 0.0
    _buckets: dict[str, Bucket] = field(default_factory=dict)
    _client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                context = ssl.create_default_context(cafile=str(self.authority))
                self._client = httpx.AsyncClient(
                    verify=context,
                    timeout=httpx.Timeout(UPSTREAM_SECONDS, connect=5.0),
                    limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
                    trust_env=False,
                )
                await send({"type": "lifespan.startup.complete"})
            else:
                assert self._client is not None
                await self._client.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = scope["path"]
        if scope["method"] != "POST" or scope["query_string"]:
            await _say(send, 404)
        elif path == HELLO_PATH:
            await self._hello(scope, headers, receive, send)
        elif path == PROBE_PATH:
            await self._probe(scope, headers, receive, send)
        elif path.startswith(FLEET) and path[len(FLEET) :] in PASSED:
            await self._fleet(scope, path, headers, receive, send)
        else:
            await _say(send, 404)

    # --- who may speak -------------------------------------------------------------------------------------------------

    def registry(self) -> Registry:
        """The registry of sites, read again when its file changed. A file that is no longer good changes nothing for those
        who were refused before, and refuses everybody else until it is."""
        now = time.monotonic()
        if self._registry is None or now - self._looked > RELOAD_SECONDS:
            self._looked = now
            stat = os.stat(self.kit.folder / "sites.json")
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if self._registry is None or stamp != self._stamp:
                at_least = self._registry.revision if self._registry is not None else 0
                self._registry = self.kit.registry(at_least=at_least)
                self._stamp = stamp
        return self._registry

    def _entry(self, key: bytes | str) -> SiteEntry | None:
        try:
            return self.registry().site_of(key)
        except (EmrFlError, OSError):
            return None

    def _allowed(self, scope: Scope, site: str | None) -> bool:
        """The rate limit of a site, or of an address that no key vouches for."""
        client = scope.get("client") or ("?", 0)
        name = f"site {site}" if site else f"address {client[0]}"
        if name not in self._buckets:
            if len(self._buckets) > 10_000:
                self._buckets.clear()
            self._buckets[name] = (
                Bucket(REQUESTS_PER_SECOND, BURST) if site else Bucket(STRANGERS_PER_SECOND, STRANGERS_BURST)
            )
        return self._buckets[name].take()

    # --- Flower's traffic ------------------------------------------------------------------------------------------------

    async def _fleet(
        self, scope: Scope, path: str, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        try:
            key = base64.b64decode(headers.get(KEY_HEADER, ""), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        entry = self._entry(key) if 0 < len(key) <= 4096 else None
        if entry is None or not entry.valid_at(datetime.now(UTC)):
            allowed = self._allowed(scope, None)
            await _say(send, 403 if allowed else 429)
            return
        if not self._allowed(scope, entry.name):
            await _say(send, 429)
            return
        if int(headers.get("content-length") or 0) > BODY_LIMIT:
            await _say(send, 413)
            return
        self.board.seen(entry.name)
        await self._pass(entry.name, path, headers, receive, send)

    async def _pass(
        self, site: str, path: str, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        assert self._client is not None
        request = self._client.build_request(
            "POST",
            self.upstream + path,
            headers={name: value for name, value in headers.items() if name not in _HOP_BY_HOP},
            content=self._body(site, receive),
        )
        try:
            answer = await self._client.send(request, stream=True)
        except TooLarge:
            await _say(send, 413)
            return
        except httpx.HTTPError:
            await _say(send, 503)  # the SuperLink is being restarted: a node tries again
            return
        if path == ACTIVATE and answer.status_code == 200:
            self.board.activated(site)
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": answer.status_code,
                    "headers": [
                        (name, value)
                        for name, value in answer.headers.raw
                        if name.decode("latin-1").lower() not in _HOP_BY_HOP
                    ],
                }
            )
            async for chunk in answer.aiter_raw():
                self.board.seen(site, down=len(chunk))
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

    async def _body(self, site: str, receive: Receive) -> AsyncIterator[bytes]:
        total = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise httpx.ReadError("the site went away")
            chunk = message.get("body", b"")
            total += len(chunk)
            if total > BODY_LIMIT:
                raise TooLarge
            if chunk:
                self.board.seen(site, up=len(chunk))
                yield chunk
            if not message.get("more_body"):
                return

    # --- our own two questions --------------------------------------------------------------------------------------------

    async def _hello(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        known = await self._who(scope, headers, receive, send)
        if known is None:
            return
        hello, entry = known
        now = datetime.now(UTC)
        validity = entry.validity_at(now)
        standing: Standing = "registered" if validity == "valid" else validity
        if standing == "registered" and not clock_fits(hello.time, now):
            standing = "clock"
        if standing == "registered":
            self.board.greeted(entry.name, hello.incarnation, hello.emr_fl)
        progress = read_progress(self.folder)
        reply = HelloReply(
            federation_id=self.kit.document.federation_id,
            site=entry.name,
            standing=standing,
            node=str(read_nodes(self.folder).get(entry.fingerprint, "")),
            time=now,
            emr_fl=version("emr-fl"),
            flwr=version("flwr"),
            phase=progress.phase,
            round=progress.round,
            rounds=progress.rounds,
        )
        await _say(send, 200, reply.model_dump_json().encode())

    async def _probe(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Swallow what comes and send as much back; for a signed hello in front of it, so that no stranger is served."""
        body = await _read(receive, HELLO_LIMIT + PROBE_BYTES)
        head, _, rest = (body or b"").partition(b"\n")
        known = self._check(scope, head, headers.get(SIGNATURE_HEADER, ""))
        if not isinstance(known, tuple) or not known[1].valid_at(datetime.now(UTC)):
            await _say(send, 403)
            return
        await _say(send, 200, os.urandom(len(rest)))

    async def _who(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> tuple[Hello, SiteEntry] | None:
        body = await _read(receive, HELLO_LIMIT)
        if body is None:
            await _say(send, 413)
            return None
        known = self._check(scope, body, headers.get(SIGNATURE_HEADER, ""))
        if isinstance(known, int):
            await _say(send, known)
            return None
        return known

    def _check(self, scope: Scope, body: bytes, signature: str) -> tuple[Hello, SiteEntry] | int:
        """Who signed `body`; a status code if it is nobody we know."""
        if not self._allowed(scope, None):
            return 429
        try:
            hello = parse_hello(body)
        except EmrFlError:
            return 400
        entry = self._entry(hello.public_key)
        if entry is None:
            return 403
        key = load_ssh_public_key(entry.public_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or not signed_by(key, body, signature):
            return 403
        return hello, entry


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or `None` if it is longer than `limit`."""
    parts: list[bytes] = []
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        if total > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _say(send: Send, status: int, body: bytes = b"") -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(gateway: Gateway, host: str, port: int) -> None:
    """Run until a signal ends the process. TLS 1.2 or later; a renewed certificate serves the next connection."""
    config = uvicorn.Config(
        gateway,
        host=host,
        port=port,
        ssl_certfile=gateway.kit.certificate_path,
        ssl_keyfile=gateway.kit.key_path,
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        limit_concurrency=512,
        ws="none",
        lifespan="on",
    )
    config.load()
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    server = uvicorn.Server(config)

    async def main() -> None:
        watcher = asyncio.create_task(_renew(config.ssl, gateway.kit))
        await server.serve()
        watcher.cancel()

    asyncio.run(main())


async def _renew(context: ssl.SSLContext | None, kit: ServerKit) -> None:
    """Load the certificate again when its file changes."""
    assert context is not None
    stamp = os.stat(kit.certificate_path).st_mtime_ns
    while True:
        await asyncio.sleep(5.0)
        try:
            changed = os.stat(kit.certificate_path).st_mtime_ns
            if changed != stamp:
                context.load_cert_chain(kit.certificate_path, kit.key_path)
                stamp = changed
        except (OSError, ssl.SSLError):
            continue  # being written: looked at again


def main() -> None:
    """Process entry: one JSON argument (kit, folder, upstream, authority, host, port)."""
    import sys

    from emr_fl_shared.kit import read_server_kit

    given = json.loads(sys.argv[1])
    folder = Path(given["folder"])
    gateway = Gateway(
        read_server_kit(Path(given["kit"])),
        folder,
        given["upstream"],
        Path(given["authority"]),
        PresenceBoard(folder),
    )
    serve(gateway, given["host"], int(given["port"]))


if __name__ == "__main__":
    main()
