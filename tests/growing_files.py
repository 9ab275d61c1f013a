"""What the kill -9 test writes again and again: content that tells its own version. Started as a program it does so for ever."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from emr_fl_client.dataset.cache import PreparedCache
from emr_fl_client.dataset.ledger import SplitLedger
from emr_fl_shared.preparation import Prepared

KEY = b"k" * 32


def sides(version: int) -> dict[str, bool]:
    return {f"{version:016x}{number:016x}": number % 7 == 0 for number in range(20_000)}


def prepared(version: int) -> Prepared:
    count = 4000
    texts = [f"{version} 咳嗽 {number} " + "热" * 200 for number in range(count)]
    labels = np.ones((count, 50), dtype=np.bool_)
    months = np.full(count, version, dtype=np.int32)
    return Prepared(texts, labels, [str(version)] * count, months, Counter(), Counter(), Counter(), version)


def main(folder: Path, what: str) -> None:
    cache, ledger = PreparedCache(folder, KEY), SplitLedger(folder, KEY)
    print("ready", flush=True)
    version = 0
    while True:
        version += 1
        if what == "cache":
            cache.keep("a", prepared(version))
        else:
            ledger.write(sides(version))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
