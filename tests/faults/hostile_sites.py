"""Sites that misbehave: real ClientApps whose replies are tampered with after the door.

As a program it is `client join` of such a site: `python hostile_sites.py SITE KIT '{"2": "nan", "3": "truncated"}'` tampers
with its reply in round 2 and in round 3.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from emr_fl_deploy.simulate.grid import AppFactory
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.payload import PayloadReader, pack_tensors
from emr_fl_shared.tensorfile import TensorReader, serialise
from emr_fl_shared.wire import TrainReply, TrainRequest, pack, unpack

Tensors = dict[str, np.ndarray]


def tampered(factory: AppFactory, fault: str) -> AppFactory:
    """The same site with a fault."""
    return partial(_build, factory=factory, fault=fault)


def _build(
    name: str, progress: Callable[[dict[str, Any]], None], *, factory: AppFactory, fault: str
) -> ClientApp:
    honest = factory(name, progress)
    app = ClientApp()
    app.query("describe")(lambda message, context: honest(message, context))
    app.evaluate("model")(lambda message, context: honest(message, context))

    @app.train("round")
    def train(message: Message, context: Context) -> Message:
        if fault == "crash":
            os._exit(7)
        if fault == "silent":
            time.sleep(3600)
        return tampered_reply(message, honest(message, context), fault)

    return app


def tampered_reply(question: Message, reply: Message, fault: str) -> Message:
    """An honest reply to a training question with a fault in it."""
    body, payload = from_records(reply.content)
    assert payload is not None
    if fault == "rubbish-array":
        records = to_records(body, payload)
        (array,) = next(iter(records.array_records.values())).values()
        array.data = b"rubbish in place of an array"
        return Message(records, reply_to=question)
    body, payload = TAMPER[fault](unpack(body, TrainReply), payload)
    return Message(to_records(body, payload), reply_to=question)


def _tensors(payload: bytes) -> Tensors:
    with TensorReader(payload) as raw:
        shapes = {name: place.shape for name, place in raw.places.items()}
    with PayloadReader(payload, shapes, "fp32") as reader:
        return {name: reader.read(name) for name in shapes}


def _corrupted(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply), payload[:-1] + bytes([payload[-1] ^ 1])


def _nan(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    # pack_tensors refuses NaN; a site with ill will writes its file, digest and all, by itself
    with TensorReader(payload) as raw:
        metadata = raw.metadata
    tensors = _tensors(payload)
    tensors[sorted(tensors)[0]].reshape(-1)[0] = np.nan
    return pack(reply), b"".join(serialise(tensors, metadata))


def _shape(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    tensors = _tensors(payload)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].reshape(-1)[:1]
    return pack(reply), pack_tensors(tensors).data


def _missing(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    tensors = _tensors(payload)
    tensors.pop(sorted(tensors)[0])
    return pack(reply), pack_tensors(tensors).data


def _truncated(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply), payload[: len(payload) // 2]


def _huge(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply), pack_tensors({name: 1000 * array for name, array in _tensors(payload).items()}).data


def _oversized(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply), payload + bytes(len(payload))


def _impostor(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply.model_copy(update={"site": "somebody-else"})), payload


def _replayed(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return pack(reply.model_copy(update={"round": reply.round + 1})), payload


def _text(_: TrainReply, payload: bytes) -> tuple[str, bytes]:
    return "no message at all", payload


TAMPER: Mapping[str, Callable[[TrainReply, bytes], tuple[str, bytes]]] = {
    "corrupted": _corrupted,
    "nan": _nan,
    "wrong-shape": _shape,
    "missing-tensor": _missing,
    "truncated": _truncated,
    "huge-norm": _huge,
    "oversized": _oversized,
    "impostor": _impostor,
    "replayed": _replayed,
    "no-message": _text,
}
FAULTS = (*TAMPER, "rubbish-array", "crash", "silent")


# --- the same on the real path -----------------------------------------------------------------------------------------


def _die_in_the_middle(marker: Path) -> None:
    """The first part of the next reply goes to the SuperNode, the second ends this process; once only."""
    from flwr.supercore.runtime import RuntimeHttpClient

    if marker.exists():
        return
    push = RuntimeHttpClient.PushObject

    def push_or_die(*arguments: Any) -> Any:
        if marker.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        marker.touch()
        return push(*arguments)

    RuntimeHttpClient.PushObject = push_or_die


def work(given: str, faults: str) -> None:
    """The worker: `faults` by round, as JSON."""
    from emr_fl_client.join import worker

    by_round: dict[str, str] = json.loads(faults)
    make = worker.client_app

    def client_app(site_of: Any) -> ClientApp:
        honest = make(site_of)

        def answer(message: Message, context: Context) -> Message:
            if message.metadata.message_type.startswith("train"):
                body, _ = from_records(message.content)
                fault = by_round.get(str(unpack(body, TrainRequest).round))
                if fault == "silent":
                    time.sleep(3600)
                if fault == "dies-sending":
                    _die_in_the_middle(Path(json.loads(given)["state"]) / "died")
                    return honest(message, context)
                if fault is not None:
                    return tampered_reply(message, honest(message, context), fault)
            return honest(message, context)

        return answer  # type: ignore[return-value]

    worker.client_app = client_app
    worker.run(json.loads(given))


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(*sys.argv[2:])
    else:
        site, kit, by_round = sys.argv[1:]
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from altered_join import join

        sys.exit(join(site, Path(kit), lambda given: [__file__, "--worker", json.dumps(given), by_round]))
