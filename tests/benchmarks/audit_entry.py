"""What an entry of the audit log costs: `python tests/benchmarks/audit_entry.py [ENTRIES] [FOLDER]`.

Median and 95th percentile of the wall, and the processor's time, for a plain append, the same with fsync, and a chained entry
without and with a signed head; then reading and checking the whole log. FOLDER should lie on the disk that is meant.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_shared.chain import Chain, Signer, read_chain

FACTS = {
    "run": "demo",
    "round": 3,
    "fields": ["device", "examples", "kind", "loss", "payload", "precision", "protocol", "received", "round"],
    "body_bytes": 420,
    "payload_bytes": 4_300_000,
    "sha256": "0" * 64,
    "policy": "0" * 64,
}


def appended(path: Path, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, str(FACTS).encode() + b"\n")
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)


def measured(name: str, count: int, action: Callable[[], object]) -> None:
    walls = []
    cpu = time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        action()
        walls.append(1000 * (time.perf_counter() - began))
    cpu = 1000 * (time.process_time() - cpu) / count
    tail = statistics.quantiles(walls, n=20)[-1] if count > 1 else walls[0]
    print(f"{name:<34}  {statistics.median(walls):8.2f}  {tail:8.2f}  {cpu:8.2f}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    signer = Signer(ec.generate_private_key(ec.SECP384R1()))
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        folder = Path(name)
        print(f"{'ms an entry, n = ' + str(count):<34}    median      95 %       cpu")
        measured("plain append", count, lambda: appended(folder / "plain", False))
        measured("append and fsync", count, lambda: appended(folder / "synced", True))
        for label, key in (("chained, head not signed", None), ("chained, head signed (P-384)", signer)):
            log = Chain(folder / label / "egress.jsonl", "north", key)
            measured(label, count, lambda log=log: log.append("trained", FACTS))
        path = folder / "chained, head signed (P-384)" / "egress.jsonl"
        measured(f"reading and checking {count} entries", 5, lambda: read_chain(path))
        assert not read_chain(path).problems


if __name__ == "__main__":
    main()
