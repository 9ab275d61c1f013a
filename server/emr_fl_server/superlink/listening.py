"""The gateway's socket: TLS 1.2 or later, a renewed certificate without a restart, and connections that may not idle.

uvicorn waits for ever for the first request of a connection and for the rest of its headers; a stranger could so hold all
connections that there are. `PatientProtocol` ends those, and h11 bounds the headers' size, which httptools does not.
"""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from emr_fl_shared.kit import ServerKit

if TYPE_CHECKING:
    from emr_fl_server.superlink.gateway import Gateway

CONNECTIONS = 512
NEW_CONNECTIONS = 32
"""Of one address, that have not asked for anything yet."""
REQUEST_SECONDS = 20.0
"""From opening a connection, or from the first byte of a further request, to the end of the request's headers."""
HEADER_BYTES = 32 * 1024
RENEW_SECONDS = 5.0
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; uvicorn's own choice there leaves CBC with SHA-1 only. TLS 1.3 has no others than such."""


class PatientProtocol(H11Protocol):
    """One connection. Its time limit runs while a request's headers are awaited, and at no other time."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()
        host = self.client[0] if self.client else None
        new = [
            other
            for other in self.connections
            if isinstance(other, PatientProtocol)
            and other.cycle is None
            and other.client
            and other.client[0] == host
        ]
        if len(new) > NEW_CONNECTIONS:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._settle()
        elif self._limit is None and self.conn.trailing_data[0]:
            self._wait()

    def _wait(self) -> None:
        self._limit = self.loop.call_later(REQUEST_SECONDS, self._too_late)

    def _settle(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _too_late(self) -> None:
        self._limit = None
        if not self.transport.is_closing():
            self.transport.abort()


def serve(gateway: Gateway, host: str, port: int) -> None:
    """Run until a signal ends the process."""
    _raise_open_files()
    config = uvicorn.Config(
        gateway,
        host=host,
        port=port,
        http=PatientProtocol,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ssl_certfile=gateway.kit.certificate_path,
        ssl_keyfile=gateway.kit.key_path,
        ssl_ciphers=CIPHERS,
        access_log=False,
        log_level="error",  # strangers must not fill the disk with warnings
        proxy_headers=False,  # TLS ends here: who says X-Forwarded-For is a stranger
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        limit_concurrency=CONNECTIONS,
        ws="none",
        lifespan="on",
    )
    config.load()
    assert config.ssl is not None
    _harden(config.ssl)
    server = uvicorn.Server(config)

    async def main() -> None:
        watcher = asyncio.create_task(_renew(config.ssl, gateway.kit))
        await server.serve()
        watcher.cancel()

    asyncio.run(main())


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


async def _renew(context: ssl.SSLContext | None, kit: ServerKit) -> None:
    """Load the certificate again when its file or its key's changes."""
    assert context is not None
    stamp = _stamp(kit)
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            changed = _stamp(kit)
            if changed != stamp:
                # tried apart first: a pair that does not fit would leave the context without a key
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(kit.certificate_path, kit.key_path)
                context.load_cert_chain(kit.certificate_path, kit.key_path)
                stamp = changed
        except (OSError, ssl.SSLError):
            continue  # being written: looked at again


def _stamp(kit: ServerKit) -> tuple[Any, ...]:
    return tuple(
        (status.st_mtime_ns, status.st_ino)
        for status in (os.stat(kit.certificate_path), os.stat(kit.key_path))
    )


def _raise_open_files() -> None:
    """Connections that are still shaking hands count against no limit of ours but the process's open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
