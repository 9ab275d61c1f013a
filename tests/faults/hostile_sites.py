"""Sites that misbehave, for the tests of admission: real ClientApps whose replies are tampered with after the door."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from emr_fl_deploy.simulate.grid import AppFactory
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.payload import PayloadReader, pack_tensors
from emr_fl_shared.tensorfile import TensorReader
from emr_fl_shared.wire import TrainReply, pack, unpack

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
        reply = honest(message, context)
        body, payload = from_records(reply.content)
        assert payload is not None
        body, payload = TAMPER[fault](unpack(body, TrainReply), payload)
        return Message(to_records(body, payload), reply_to=message)

    return app


def _tensors(payload: bytes) -> Tensors:
    with TensorReader(payload) as raw:
        shapes = {name: place.shape for name, place in raw.places.items()}
    with PayloadReader(payload, shapes, "fp32") as reader:
        return {name: reader.read(name) for name in shapes}


def _nan(reply: TrainReply, payload: bytes) -> tuple[str, bytes]:
    # pack_tensors refuses NaN, so it is written over the first number of an honest payload
    tensors = _tensors(payload)
    name = sorted(tensors)[0]
    raw = tensors[name].tobytes()[:4]
    at = payload.rindex(raw)
    return pack(reply), payload[:at] + np.float32("nan").tobytes() + payload[at + 4 :]


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
FAULTS = (*TAMPER, "crash", "silent")
