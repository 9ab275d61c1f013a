"""`emr-fl` whose gateway writes down what crosses it behind its TLS: `python tapped_server.py CAPTURE server start …`.

Each request becomes two files in the folder CAPTURE: what the site sent, and what it was answered.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

GATEWAY = ["-m", "emr_fl_server.superlink.gateway"]


def serve(capture: str, given: str) -> None:
    """The gateway's process."""
    from emr_fl_server.superlink import gateway

    folder, numbers = Path(capture), itertools.count()
    honest = gateway.Gateway.__call__

    async def tapped(self: gateway.Gateway, scope: Any, receive: Any, send: Any) -> None:
        name = f"{next(numbers):06d}"
        with open(folder / f"{name}.up", "ab") as up, open(folder / f"{name}.down", "ab") as down:
            up.write(str(scope.get("path")).encode() + b"\n")
            for pair in scope.get("headers", ()):
                up.write(b": ".join(pair) + b"\n")

            async def heard() -> Any:
                message = await receive()
                up.write(message.get("body", b""))
                return message

            async def said(message: Any) -> None:
                down.write(b"".join(b": ".join(pair) + b"\n" for pair in message.get("headers", ())))
                down.write(message.get("body", b""))
                await send(message)

            await honest(self, scope, heard, said)

    gateway.Gateway.__call__ = tapped  # type: ignore[method-assign]
    sys.argv = [sys.argv[0], given]
    gateway.main()


def command(capture: str, arguments: list[str]) -> None:
    """The command, which starts that gateway instead of its own."""
    from emr_fl_server.superlink import supervisor

    start = supervisor.start_child

    def start_child(given: list[str], **options: Any) -> Any:
        if given[:2] == GATEWAY:
            given = [__file__, "--gateway", capture, json.dumps(json.loads(given[2]))]
        return start(given, **options)

    supervisor.start_child = start_child  # type: ignore[assignment]
    from emr_fl_deploy.cli import main

    sys.argv = ["emr-fl", *arguments]
    main()


if __name__ == "__main__":
    if sys.argv[1] == "--gateway":
        serve(sys.argv[2], sys.argv[3])
    else:
        command(sys.argv[1], sys.argv[2:])
