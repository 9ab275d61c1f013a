"""`client join` whose worker is another program, for tests and benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def join(site: str, kit: Path, program: Callable[[dict[str, Any]], list[str]]) -> int:
    """Join and stay until the federation is finished. `program` makes the worker's command line from what a worker is given."""
    from emr_fl_client.join import supervisor
    from emr_fl_client.join.place import Places

    start = supervisor.start_child

    def start_child(arguments: list[str], **options: Any) -> Any:
        if arguments[:2] == ["-m", "emr_fl_client.join.worker"]:
            arguments = program(json.loads(arguments[2]))
        return start(arguments, **options)

    supervisor.start_child = start_child
    return supervisor.Join(Places(site, kit).open(), leave_when_finished=True).run()
