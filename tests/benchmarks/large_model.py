"""A federation of the real RoBERTa's size on one machine: memory of the server's processes, bytes and seconds a round.

    python tests/benchmarks/large_model.py --senders 2 8 --payload fp32 bf16 int8

The encoder has the shape of chinese-roberta-wwm-ext (12 layers of 768, 21,128 entries, 102 M parameters) and random weights. The senders
are real nodes — kit, TLS, SuperNode, our worker — that do not train: each answers with an update of the right shapes. They
take turns, so that this machine's memory holds them; the times are therefore those of a transfer after the other. What is compared is
the server: peak resident memory of ServerApp, SuperLink and gateway with few and with many senders.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROUNDS = 2
SENDER_FLAG = "--as-sender"


# --- a sender: the worker of `client join`, with a site that does not train -----------------------------------------------------


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sender(given: dict[str, Any]) -> None:
    import numpy as np

    from emr_fl_client.join import worker
    from emr_fl_client.site import Site, Trained
    from emr_fl_shared.payload import PayloadReader, pack_tensors
    from emr_fl_shared.tensorfile import TensorReader

    def no_data(self: Site, *_: Any) -> None:
        return None

    def answer(self: Site, request: Any, model: bytes) -> Trained:
        with TensorReader(model) as reader:
            shapes = {name: tuple(place.shape) for name, place in reader.places.items()}
        generator = np.random.default_rng(len(self.name) + request.round)
        update = pack_tensors(
            {
                name: (1e-3 * generator.standard_normal(shape, dtype=np.float32))
                for name, shape in shapes.items()
            },
            request.payload,
        ).data
        with PayloadReader(update, shapes, request.payload):
            pass
        return Trained(update, shapes, 100, 0, 1, 0.0, 1.0, None, False, "cpu", "fp32", 0.0)

    Site.train = answer  # type: ignore[method-assign]
    Site.evaluate = no_data  # type: ignore[method-assign]
    lock = Path(given["lock"])
    answering = worker.answer_task

    def one_at_a_time(*arguments: Any) -> None:
        with turn(lock):
            answering(*arguments)

    worker.answer_task = one_at_a_time
    worker.run(given)


# --- the federation --------------------------------------------------------------------------------------------------------------


def encoder(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder.mkdir(parents=True)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 21123)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(vocabulary))).save_pretrained(folder)


def measure(
    root: Path, model: Path, senders: int, payload: str, stack: contextlib.ExitStack
) -> dict[str, Any]:
    from emr_fl_shared.processes import free_port
    from faults.federation_on_loopback import ENVIRONMENT, emr_fl

    folder = root / f"{senders}-{payload}"
    folder.mkdir()
    sites = [f"site-{number}" for number in range(senders)]
    port = free_port()
    (folder / "federation.toml").write_text(
        f"""[federation]
name = "large"
rounds = {ROUNDS}
min_sites = {senders}
round_deadline = "40m"
[model]
name = "{model}"
max_length = 32
[aggregation]
payload = "{payload}"
[server]
addresses = ["127.0.0.1"]
port = {port}
sites = {json.dumps(sites)}
[evaluation.sets]
standard = "{root}/standard.csv"
validation = "{root}/standard.csv"
[evaluation.adversarial]
texts = 0
"""
    )
    done = emr_fl("server", "provision", folder / "federation.toml", "--out", folder / "kits")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-P", "-m", "emr_fl_deploy.cli"]
    log = stack.enter_context((folder / "server.log").open("ab"))
    server = subprocess.Popen(
        [
            *(*command, "server", "start", "--config", folder / "federation.toml"),
            *("--kit", folder / "kits" / "server", "--out", folder / "run", "--host", "127.0.0.1"),
        ],
        stdout=log,
        stderr=log,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    joined = []
    for site in sites:
        kit = folder / "kits" / "sites" / site
        (kit / "SITE.toml").write_text(f'source = "{root}/standard.csv"\nmodel = "{model}"\n')
        argument = json.dumps({"site": site, "kit": str(kit), "lock": str(folder / "turn")})
        joined.append(
            subprocess.Popen(
                [sys.executable, "-P", __file__, SENDER_FLAG, argument],
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        )
    peaks: dict[str, float] = {}
    names = {"superlink.worker": "ServerApp", "flower_superlink": "SuperLink", "superlink.gateway": "gateway"}
    try:
        while server.poll() is None:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(server.pid).children(recursive=True):
                    line = " ".join(child.cmdline())
                    for word, name in names.items():
                        if word in line:
                            peaks[name] = max(peaks.get(name, 0.0), child.memory_info().rss / 2**20)
            time.sleep(0.2)
        assert server.returncode == 0, (folder / "server.log").read_text()[-3000:]
    finally:
        for process in (server, *joined):
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()
    results = json.loads((folder / "run" / "results.json").read_text())
    last = results["history"][-1]["cost"]
    return {
        "senders": senders,
        "payload": payload,
        **{name: round(peak) for name, peak in sorted(peaks.items())},
        "sum": round(sum(peaks.values())),
        "up_mb": last["bytes_up"] / 2**20 / senders,
        "down_mb": last["bytes_down"] / 2**20 / senders,
        "round_s": last["train_wall_s"] + last["aggregate_s"],
        "aggregate_s": last["aggregate_s"],
    }


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == SENDER_FLAG:
        from altered_join import join

        asked = json.loads(sys.argv[2])
        join(
            asked["site"],
            Path(asked["kit"]),
            lambda given: [__file__, "--as-worker", json.dumps({**given, "lock": asked["lock"]})],
        )
        return
    if len(sys.argv) == 3 and sys.argv[1] == "--as-worker":
        sender(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--senders", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--payload", nargs="+", default=["fp32", "bf16", "int8"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emr-fl-large-") as name:
        root = Path(name)
        encoder(root / "encoder")
        rows = "".join(f"咳嗽{number}天,{code}\n" for number in range(1, 9) for code in ("I10", "J06.9"))
        (root / "standard.csv").write_text("text,diagnosis_codes\n" + rows, encoding="utf-8")
        keys = [
            "senders",
            "payload",
            "ServerApp",
            "SuperLink",
            "gateway",
            "sum",
            "up_mb",
            "down_mb",
            "round_s",
            "aggregate_s",
        ]
        print("| " + " | ".join(keys) + " |\n|" + "---|" * len(keys), flush=True)
        for senders in given.senders:
            for payload in given.payload:
                with contextlib.ExitStack() as stack:
                    row = measure(root, root / "encoder", senders, payload, stack)
                cells = [
                    f"{row[key]:.1f}" if isinstance(row[key], float) else str(row.get(key, ""))
                    for key in keys
                ]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
