"""`python -m emr_fl_shared.deidentify.cleaning_process FD`: a child of `parallel.in_parallel`.

Through the socket `FD`, which its parent made for it, come first the function and then lists of what it is to be applied to; a list
of results goes back for each. It ends when the socket closes.
"""

from __future__ import annotations

import queue
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from emr_fl_shared.processes import no_core_dumps


def main() -> None:
    """Serve the parent until it closes the socket."""
    no_core_dumps()
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    # Read ahead: a parent that is sending must never wait for a child that is sending.
    batches: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, batches), daemon=True).start()
    work = batches.get()
    while work is not None and (batch := batches.get()) is not None:
        results = [work(each) for each in batch]
        try:
            connection.send(results)
        except OSError:  # the parent has ended or has enough
            return


def _receive(connection: Connection[Any, Any], batches: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            batches.put(connection.recv())
    except (EOFError, OSError):
        batches.put(None)


if __name__ == "__main__":
    main()
