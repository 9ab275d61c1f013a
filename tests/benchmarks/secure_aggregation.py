"""What secure aggregation costs beside plain fp32 updates: seconds and bytes of a round's transfer, three members in one process.

    python tests/benchmarks/secure_aggregation.py [--parameters 4000000 …] [--sites 3] [--mode hostile]

No training and no network: the site's masking (scaling, quantisation, key streams, signature), the server's adding and opening, and
the small messages, with real keys, shares and signatures. Beside it the same updates packed as plain fp32, checked, spooled and averaged.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from emr_fl_client.masking import Masked
from emr_fl_server.aggregation import Means, Spool
from emr_fl_shared.memory import peak_rss_mb
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.secure_aggregation.bodies import MaskedReply
from emr_fl_shared.wire import pack
from masking_group import PARAMETERS, Group, Tensors, names_of, shapes_of, train_reply

ROWS = 768


def update_of(parameters: int, seed: int) -> Tensors:
    """Layers of 768 × 3072 and what is left."""
    draw = np.random.default_rng(seed)
    tensors: Tensors = {}
    left = parameters
    while left:
        size = min(left, ROWS * 3072)
        shape = (ROWS, size // ROWS) if size % ROWS == 0 else (size,)
        tensors[f"layer-{len(tensors):03d}"] = draw.standard_normal(shape, dtype=np.float32) * np.float32(
            1e-3
        )
        left -= size
    return tensors


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._began = 0.0

    def __call__(self, name: str) -> Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.spent[self._name] = self.spent.get(self._name, 0.0) + time.perf_counter() - self._began


def plain(parameters: int, names: list[str], folder: Path) -> tuple[Clock, int]:
    """The updates as they travel without secure aggregation; bytes of one."""
    clock, size = Clock(), 0
    spool = Spool(folder / "spool", shapes_of(update_of(parameters, 0)), "fp32")
    for number, name in enumerate(names):
        update = update_of(parameters, number)
        with clock("site"):
            payload = pack_tensors(update).data
        del update
        size = len(payload)
        with clock("server"):
            spool.accept(name, payload, 10.0)
        del payload
    with clock("server"):
        means = Means(spool.updates)
        for name in means.shapes:
            means.of(name)
    spool.clear()
    return clock, size


def masked(
    parameters: int, names: list[str], folder: Path, bits: int, mode: str, gone: int
) -> tuple[Clock, int, int]:
    """The same masked, `gone` sites dropping out after they shared; bytes of one vector, and of a site's small messages."""
    group = Group(folder, names, PARAMETERS.model_copy(update={"bits": bits, "mode": mode}))
    session = group.session()
    clock, size = Clock(), 0
    with clock("small steps"):
        session.keys()
        session.shares()
    some = update_of(parameters, 0)
    shapes = shapes_of(some)
    del some
    session.opening.expect(shapes, 0)
    request = session.masked_request()
    for number, name in enumerate(names[gone:]):
        update = pack_tensors(update_of(parameters, number)).data
        member = group.members[name]
        with clock("site"):
            member.accept(request, "q")
            vector: Masked = member.mask(request, update, shapes, 10.0)
        del update
        size = len(vector.payload)
        reply = MaskedReply(
            **session.id,
            site=name,
            sha256=vector.sha256,
            norm_bound=vector.norm_bound,
            signature=vector.signature,
            trained=train_reply(name),
        )
        with clock("server"):
            session.opening.add_masked(name, reply, vector.payload)
        del vector
    session.opening.close_masked()
    with clock("small steps"):
        if mode == "hostile":
            session.consent()
        session.reveal()
    with clock("server"):
        means = session.opening.open(())
        for name in shapes:
            means.of(name)
    small = sum(len(answer.reply) for answer in group.members[names[-1]]._memory.session().answers.values())  # type: ignore[union-attr]
    return clock, size, small + len(pack(reply)) - len(pack(reply.trained))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=int, nargs="+", default=[4_000_000])
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--mode", default="hostile")
    parser.add_argument("--gone", type=int, default=0)
    given = parser.parse_args()
    names = names_of(given.sites)
    print("| parameters | update | bytes up a site | site s | server s | small steps s | peak RSS MB |")
    print("|---|---|---|---|---|---|---|")
    for parameters in given.parameters:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            clock, size = plain(parameters, names, Path(folder))
            print(row(parameters, "plain fp32", size, clock, given.sites))
            for bits in (32, 16):
                clock, size, small = masked(
                    parameters, names, Path(folder) / str(bits), bits, given.mode, given.gone
                )
                print(row(parameters, f"masked, {bits} bits", size + small, clock, given.sites - given.gone))
    print(f"\n{given.sites} sites, mode {given.mode}, {given.gone} gone; load {os.getloadavg()[0]:.1f}")


def row(parameters: int, what: str, size: int, clock: Clock, sites: int) -> str:
    site, server = clock.spent["site"] / sites, clock.spent["server"]
    small = clock.spent.get("small steps")
    return f"| {parameters / 1e6:g} M | {what} | {size} | {site:.2f} | {server:.2f} | {'-' if small is None else f'{small:.2f}'} | {peak_rss_mb():.0f} |"


if __name__ == "__main__":
    main()
