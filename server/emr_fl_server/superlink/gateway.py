"""The one public port: TLS, registered keys only, Flower's Fleet API and nothing else.

In flwr 1.41 the SuperLink serves Fleet, Control and Runtime API on one port, and whoever reaches Control may submit a run. So
the SuperLink listens on the loopback address only, and this process passes on what a site's node may say:

* `POST /v1/fleet/NAME` for the names in `PASSED`, from a key that the federation's signed registry holds and that is
  neither revoked nor expired *now* (the file is read again when it changes), within limits of size and rate;
  of its headers, Flower's own and those of the body;
* `POST /v1/emr-fl/hello` and `/probe`: who are you, and how fast is the line (`emr_fl_shared.hello`);
* everything else is 404. Bodies are streamed in both directions, never held.

The SuperLink checks the node's signature; this process only decides whether a key may speak at all. Its answers to a
site are chosen by what Flower's node does with them: 503 is tried again, 403 ends the node, as does any other number.
So a site that is too fast, and everybody while the registry can't be read, hears 503. `listening.py` has the socket.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from emr_fl_server.superlink.limits import Bucket, Limits
from emr_fl_server.superlink.listening import HEADER_BYTES
from emr_fl_server.superlink.presence import PresenceBoard, read_nodes
from emr_fl_server.superlink.status import Progress, read_progress
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
RELOAD_SECONDS = 1.0
UPSTREAM_SECONDS = 120.0
STALL_SECONDS = 120.0
"""A site that sends or takes nothing for so long in the middle of a body is gone."""
HELLO_SECONDS, PROBE_SECONDS = 20.0, 180.0
_BODY_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "accept", "accept-encoding"})


class TooLarge(Exception):
    """A request body exceeded the limit while it was passed on."""


class RegistryUnreadable(Exception):
    """`sites.json` is no good now: nobody is admitted, and nobody is turned away for good."""


@dataclass
class Gateway:
    """The ASGI application. `kit` is the server's kit, `folder` the run's `superlink/`, `upstream` the SuperLink's URL."""

    kit: ServerKit
    folder: Path
    upstream: str
    authority: Path
    board: PresenceBoard
    _registry: Registry | None = None
    _stamp: tuple[object, ...] = ()
    _looked: float = 0.0
    _trouble: str = ""
    _limits: Limits = field(default_factory=Limits)
    _called: dict[str, float] = field(default_factory=dict)
    """When each site's node asked last for anything, whatever it was answered; seconds of `time.monotonic`."""
    _started: float = field(default_factory=time.monotonic)
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
        # the parser bounds headers that come in pieces; what came in one piece is bounded here
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            await _say(send, 431)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = scope["path"]
        # one spelling each: what is percent-encoded or has a query is not what a node sends
        if scope["method"] != "POST" or scope["query_string"] or scope["raw_path"] != path.encode():
            await _say(send, 404)
        elif "content-length" in headers and "transfer-encoding" in headers:
            await _say(send, 400)
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
        """The registry of sites, read again when its file changed. Raises `RegistryUnreadable` while that is no good."""
        now = time.monotonic()
        if self._registry is None or now - self._looked > RELOAD_SECONDS:
            self._looked = now
            try:
                self._read_registry()
                self._trouble = ""
            except (EmrFlError, OSError) as error:
                trouble = error.render() if isinstance(error, EmrFlError) else type(error).__name__
                if trouble != self._trouble:
                    print(f"sites.json: {trouble}", file=sys.stderr, flush=True)
                self._trouble = trouble
        if self._trouble or self._registry is None:
            raise RegistryUnreadable
        return self._registry

    def _read_registry(self) -> None:
        files = (self.kit.folder / "sites.json", self.kit.folder / "sites.json.sig")
        stamp = tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in map(os.stat, files))
        if self._registry is None or stamp != self._stamp:
            at_least = self._registry.revision if self._registry is not None else 0
            self._registry = self.kit.registry(at_least=at_least)
            self._stamp = stamp

    def _stranger(self, scope: Scope) -> Bucket:
        """The rate limit of an address that no key vouches for."""
        client = scope.get("client") or ("?", 0)
        return self._limits.address(str(client[0]))

    # --- Flower's traffic ------------------------------------------------------------------------------------------------

    async def _fleet(
        self, scope: Scope, path: str, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        try:
            key = base64.b64decode(headers.get(KEY_HEADER, ""), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        try:
            entry = self.registry().site_of(key) if 0 < len(key) <= 4096 else None
        except RegistryUnreadable:
            await _say(send, 503)
            return
        if entry is None or not entry.valid_at(datetime.now(UTC)):
            await _say(send, 403 if self._stranger(scope).take() else 429)
            return
        if not self._limits.site(entry.name).take():
            await _say(send, 503, keep=True)
            return
        if int(headers.get("content-length") or 0) > BODY_LIMIT:
            await _say(send, 413)
            return
        # before the signature is checked: this is only ever told to the site itself
        self._called[entry.name] = time.monotonic()
        await self._pass(entry.name, path, headers, receive, send)

    async def _pass(
        self, site: str, path: str, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        assert self._client is not None
        body = _Body(receive)
        request = self._client.build_request(
            "POST",
            self.upstream + path,
            headers={"accept-encoding": "identity", **{k: v for k, v in headers.items() if _ours(k)}},
            content=body.chunks(),
        )
        try:
            answer = await self._client.send(request, stream=True)
        except TooLarge:
            await _say(send, 413)
            return
        except httpx.HTTPError:
            await _say(send, 503, keep=True)  # the SuperLink is being restarted: a node tries again
            return
        if answer.status_code >= 500:
            # its database is locked while the model goes out to many sites: a node that hears 500 ends, 503 is tried again
            await answer.aclose()
            await _say(send, 503, keep=True)
            return
        if path == ACTIVATE and answer.status_code == 200:
            self.board.activated(site)
        try:
            known = answer.status_code != 401  # the SuperLink found the node's signature good
            if known:
                self.board.seen(site, up=body.bytes)
            await send(
                {
                    "type": "http.response.start",
                    "status": answer.status_code,
                    "headers": [
                        (name, value)
                        for name, value in answer.headers.raw
                        if _ours(name.decode("latin-1").lower())
                    ],
                }
            )
            async for chunk in answer.aiter_raw():
                if known:
                    self.board.seen(site, down=len(chunk))
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (httpx.HTTPError, TimeoutError):
            return  # cut off in the middle: uvicorn closes the connection, the site asks again
        finally:
            await answer.aclose()

    # --- our own two questions --------------------------------------------------------------------------------------------

    async def _hello(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        bucket = self._stranger(scope)
        if not bucket.take():
            await _say(send, 429)
            return
        body = await _read(receive, HELLO_LIMIT)
        if body is None:
            await _say(send, 413)
            return
        known = self._check(body, headers.get(SIGNATURE_HEADER, ""))
        if isinstance(known, int):
            await _say(send, known)
            return
        hello, entry = known
        now = datetime.now(UTC)
        validity = entry.validity_at(now)
        standing: Standing = "registered" if validity == "valid" else validity
        progress = Progress()
        if standing == "registered":
            bucket.give_back()
            progress = read_progress(self.folder)
            if clock_fits(hello.time, now):
                self.board.greeted(entry.name, hello.incarnation, hello.emr_fl)
            else:
                standing = "clock"
        reply = HelloReply(
            federation_id=self.kit.document.federation_id,
            site=entry.name,
            standing=standing,
            node=str(read_nodes(self.folder).get(entry.fingerprint, "")),
            time=now,
            emr_fl=version("emr-fl"),
            flwr=version("flwr"),
            node_silent=time.monotonic() - self._called.get(entry.name, self._started),
            phase=progress.phase,
            round=progress.round,
            rounds=progress.rounds,
        )
        await _say(send, 200, reply.model_dump_json().encode())

    async def _probe(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Swallow what comes and send as much back, for a signed hello in front of it: no stranger is served or stored."""
        if not self._stranger(scope).take():
            await _say(send, 429)
            return
        lines = _Lines(receive)
        known: tuple[Hello, SiteEntry] | int = 413
        head = await lines.first(HELLO_LIMIT)
        if head is not None:
            known = self._check(head, headers.get(SIGNATURE_HEADER, ""))
        if isinstance(known, int):
            await _say(send, known)
            return
        hello, entry = known
        now = datetime.now(UTC)
        if not entry.valid_at(now) or not clock_fits(hello.time, now):
            await _say(send, 403)
            return
        rest = await lines.rest(PROBE_BYTES)
        if rest is None:
            await _say(send, 413)
            return
        await _say(send, 200, os.urandom(rest))

    def _check(self, body: bytes, signature: str) -> tuple[Hello, SiteEntry] | int:
        """Who signed `body`; a status code if it is nobody we know."""
        try:
            hello = parse_hello(body)
            entry = self.registry().site_of(hello.public_key)
        except EmrFlError:
            return 400
        except RegistryUnreadable:
            return 503
        if entry is None:
            return 403
        key = load_ssh_public_key(entry.public_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or not signed_by(key, body, signature):
            return 403
        return hello, entry


def _ours(header: str) -> bool:
    """Whether a header belongs to Flower or to the body: no other crosses, in either direction."""
    return header in _BODY_HEADERS or header.startswith("flwr-")


class _Body:
    """A request's body on its way, counted and bounded."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise httpx.ReadError("the site went silent") from None
            if message["type"] == "http.disconnect":
                raise httpx.ReadError("the site went away")
            chunk = message.get("body", b"")
            self.bytes += len(chunk)
            if self.bytes > BODY_LIMIT:
                raise TooLarge
            if chunk:
                yield chunk
            if not message.get("more_body"):
                return


class _Lines:
    """A probe's body: a first line that is kept, and the rest, which is only counted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._over = 0
        self._more = True

    async def first(self, limit: int) -> bytes | None:
        """The line, or `None` if it is longer than `limit` or does not come."""
        head = b""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                while b"\n" not in head and len(head) <= limit and self._more:
                    head += await self._next()
        except TimeoutError:
            return None
        line, _, over = head.partition(b"\n")
        self._over = len(over)
        return line if len(line) <= limit else None

    async def rest(self, limit: int) -> int | None:
        """How many bytes follow, or `None` if they are more than `limit` or do not come."""
        total = self._over
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                while self._more and total <= limit:
                    total += len(await self._next())
        except TimeoutError:
            return None
        return total if total <= limit else None

    async def _next(self) -> bytes:
        message = await self._receive()
        self._more = bool(message.get("more_body"))
        return bytes(message.get("body", b""))


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or `None` if it is longer than `limit` or does not come."""
    parts: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            while True:
                message = await receive()
                parts.append(message.get("body", b""))
                total += len(parts[-1])
                if total > limit or message["type"] == "http.disconnect":
                    return None
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return None


async def _say(send: Send, status: int, body: bytes = b"", *, keep: bool = False) -> None:
    """A short answer; after a refusal the connection is closed unless `keep`."""
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    if status >= 400 and not keep:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Process entry: one JSON argument (kit, folder, upstream, authority, host, port)."""
    from emr_fl_server.superlink.listening import serve
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
