"""A bad line between a hospital and the server: slow, narrow, and cut again and again. A plain TCP relay in user space."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class BadLine:
    """Relays 127.0.0.1:`port` to 127.0.0.1:`target`.

    Each piece that passes waits `delay` seconds; all connections of a direction share `rate` bytes a second; each connection
    is cut after a random number of bytes around `cut_after`. `down` cuts everything while it is set.
    """

    port: int
    target: int
    delay: float = 0.02
    rate: float = 4e6
    cut_after: float = 8e6
    seed: int = 0
    cuts: int = 0
    connections: int = 0
    passed: int = 0
    turned_away: int = 0
    down: threading.Event = field(default_factory=threading.Event)
    _free_at: dict[str, float] = field(default_factory=dict)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.down.is_set():
            self.turned_away += 1
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        left = [self._random.expovariate(1.0 / self.cut_after)]
        up = asyncio.create_task(self._pump(reader, there_writer, "up", left))
        back = asyncio.create_task(self._pump(there_reader, writer, "down", left))
        # cancelled when the relay itself ends: not an error then
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({up, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (up, back):
            task.cancel()
        for end in (writer, there_writer):
            end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str, left: list[float]
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            start = max(loop.time(), self._free_at.get(way, 0.0))
            self._free_at[way] = start + len(data) / self.rate
            await asyncio.sleep(max(0.0, self._free_at[way] - loop.time()))
            left[0] -= len(data)
            if left[0] <= 0 or self.down.is_set():
                self.cuts += 1
                return
            self.passed += len(data)
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    async def _serve(self, ready: threading.Event, stop: threading.Event) -> None:
        self._random = random.Random(self.seed)
        server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        async with server:
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.1)


@contextmanager
def bad_line(line: BadLine) -> Iterator[BadLine]:
    """Run the relay in a thread of its own."""
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(line._serve(ready, stop)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield line
    finally:
        stop.set()
        thread.join(10)
