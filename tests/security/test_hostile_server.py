"""A server with ill will, against a real site behind its real door: each thing it tries is refused, noted and harmless."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from conftest import write_notes
from emr_fl_client import site as module
from emr_fl_client.app import client_app
from emr_fl_client.egress import Door, KillSwitch
from emr_fl_client.own_key import signer_of
from emr_fl_client.site import Site
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.chain import read_chain
from emr_fl_shared.config.settings import Policy, SiteSettings, Training
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.messages import set_language
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.payload import pack_tensors, unpack_tensors
from emr_fl_shared.wire import (
    DESCRIBE,
    EVALUATE,
    TRAIN,
    EvaluateReply,
    Failure,
    TrainReply,
    unpack,
    unpack_reply,
)
from quick_training import QUICK_TRAINING

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])
TRAINING = QUICK_TRAINING.model_dump(mode="json")
SIGNER = signer_of(b"k" * 32)


@pytest.fixture(autouse=True)
def _english_and_flower() -> Iterator[None]:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    set_language("en")
    yield
    set_language(None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    write_notes(folder / "records.csv", 60, 1)
    return Site("north", SiteSettings(source=str(folder / "records.csv")), folder / "prepared", b"k" * 32)


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    return tensors_of(build_model("tiny", TAXONOMY.names, max_length=32, seed=0).model)


class Server:
    """Asks the site whatever it likes and keeps what comes back."""

    def __init__(self, site: Site, folder: Path, model: dict[str, Any], **rules: Any) -> None:
        policy = Policy(**rules)
        self.folder, self.model = folder, model
        self.log = folder / "audit" / "egress.jsonl"
        door = Door(site.name, policy, self.log, signer=SIGNER, state=folder)
        own = Site(
            site.name,
            site.settings.model_copy(update={"policy": policy}),
            folder,
            site.key,
            door.watching(lambda _: None),
        )
        own._data, own._encoder = site._data, site._encoder
        self._app = client_app(lambda _: (own, door))

    def ask(
        self, kind: str, body: dict[str, Any] | str, payload: bytes | None = None
    ) -> tuple[str, bytes | None]:
        text = body if isinstance(body, str) else json.dumps(body)
        message = Message(to_records(text, payload), 2, kind)
        message.metadata.__dict__["_message_id"] = "1"
        return from_records(self._app(message, Context(1, 2, {}, RecordDict(), {})).content)

    def train(
        self, number: int = 1, *, payload: bytes | None = None, **changes: Any
    ) -> tuple[str, bytes | None]:
        return self.ask(TRAIN, train_body(number, **changes), payload or pack_tensors(self.model).data)

    def evaluate(self, **changes: Any) -> tuple[str, bytes | None]:
        body = {key: value for key, value in train_body(1).items() if key not in ("kind", "rounds")}
        return self.ask(EVALUATE, {**body, **changes}, pack_tensors(self.model).data)

    def kinds(self) -> list[str]:
        found = read_chain(self.log, public=SIGNER.public)
        assert found.problems == []
        return [entry["kind"] for entry in found.entries]


def train_body(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "protocol": 1,
        "kind": "train",
        "run": "r",
        "round": number,
        "rounds": 9,
        "seed": 7,
        "model": {"name": "tiny", "max_length": 32},
        "taxonomy": TAXONOMY.to_json(),
        "training": TRAINING,
        "decision": Decision().to_json(),
        **changes,
    }


@pytest.fixture
def server(prepared: Site, tmp_path: Path, model: dict[str, Any]) -> Callable[..., Server]:
    prepared.data(TAXONOMY, Training.model_validate(TRAINING), 7)
    return lambda **rules: Server(prepared, tmp_path / "state", model, **rules)


def refused(answer: tuple[str, bytes | None]) -> Failure:
    text, payload = answer
    assert payload is None
    return unpack(text, Failure)


TRIES: dict[str, Callable[[Server], tuple[str, bytes | None]]] = {
    "another tensor": lambda s: s.train(
        payload=pack_tensors({**s.model, "records": np.ones((4, 4), np.float32)}).data
    ),
    "tensors left out": lambda s: s.train(payload=pack_tensors(dict(list(s.model.items())[:-1])).data),
    "another shape": lambda s: s.train(
        payload=pack_tensors({**s.model, "classifier.bias": np.ones(9, np.float32)}).data
    ),
    "no model at all": lambda s: s.ask(TRAIN, train_body(1)),
    "more metrics": lambda s: s.train(metrics=["confusion", "per_label"]),
    "more metrics of a score": lambda s: s.evaluate(per_record=True),
    "a loosened policy": lambda s: s.train(policy={"smallest_count": 1, "share_label_counts": True}),
    "a policy in the training settings": lambda s: s.train(
        training={**TRAINING, "policy": {"max_rounds": 9}}
    ),
    "a policy in the model": lambda s: s.train(
        model={"name": "tiny", "max_length": 32, "policy": {"share_controls": True}}
    ),
    "a policy in the model of a score": lambda s: s.evaluate(
        model={"name": "tiny", "max_length": 32, "policy": {}}
    ),
    "the mean gradient": lambda s: s.train(controls=True),
    "label counts as weights": lambda s: s.train(effective_beta=0.9),
    "a round too many": lambda s: s.train(8),
    "another protocol": lambda s: s.train(protocol=2),
    "another message under the name": lambda s: s.ask(TRAIN, {"protocol": 1, "kind": "describe", "run": "r"}),
    "no JSON": lambda s: s.ask(TRAIN, "records, please"),
    "a message that there is not": lambda s: s.ask("query.records", {"protocol": 1}),
    "another action": lambda s: s.ask("train.secret", train_body(1), pack_tensors(s.model).data),
    "a bare category": lambda s: s.ask("evaluate", train_body(1)),
}


@pytest.mark.parametrize("name", TRIES)
def test_each_try_is_refused_noted_and_harmless(server: Callable[..., Server], name: str) -> None:
    one = server(max_rounds=7)
    failure = refused(TRIES[name](one))
    assert failure.site == "north" and failure.reason
    assert one.kinds() == ["failed"]
    assert not list(one.folder.glob("kept-update.*"))
    entry = read_chain(one.log).entries[-1]
    assert (entry["cause"], entry["payload_bytes"], entry["reason"]) == (failure.cause, 0, failure.reason)
    # the site goes on as if nothing had been asked
    text, payload = one.train(1)
    assert unpack(text, TrainReply).round == 1 and payload is not None
    assert one.kinds() == ["failed", "trained"]


def test_more_rounds_than_allowed_under_one_number(server: Callable[..., Server]) -> None:
    one = server(max_rounds=2)
    for seed in (1, 2):
        assert one.train(1, seed=seed)[1] is not None
    assert refused(one.train(1, seed=3)).reason.startswith("policy.max_rounds")
    assert refused(one.train(1, rounds=99)).cause == "policy"
    assert one.kinds() == ["trained", "trained", "failed", "failed"]


def test_replays(server: Callable[..., Server]) -> None:
    one = server()
    first = one.train(1)
    assert one.train(1) == first, "a question that is asked again has the same answer, to the byte"
    for number in (2, 3, 4):
        one.train(number)
    failure = refused(one.train(1))
    assert failure.cause == "policy" and "answered before" in failure.reason
    assert one.kinds() == [*["trained"] * 5, "failed"]


def test_tiny_groups(server: Callable[..., Server]) -> None:
    one = server()
    text, _ = one.train(1, training={**TRAINING, "validation_share": 0.01})
    reply = unpack(text, TrainReply)
    assert reply.received is None or reply.received.n >= 5
    text, _ = server(smallest_count=1000).evaluate()
    assert isinstance(answer := unpack_reply(text, EvaluateReply), EvaluateReply) and answer.scores is None
    assert refused(server(smallest_count=1000).train(2)).reason.startswith("policy.smallest_count")


def test_a_site_that_demands_protection_answers_no_request_without_it(server: Callable[..., Server]) -> None:
    for rule in ("require_dp", "require_secure_aggregation"):
        failure = refused(server(**{rule: True}).train(1))
        assert failure.cause == "policy" and failure.reason.startswith(f"policy.{rule}")


def test_the_kill_switch_ends_a_training_that_goes_on(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = server()
    real = module.train_round

    def thrown_in_the_middle(*given: Any, **named: Any) -> Any:
        told = named["progress_callback"]

        def step(number: int, steps: int, loss: float) -> None:
            assert number < steps
            KillSwitch(one.folder).stop()
            told(number, steps, loss)

        return real(*given, **{**named, "progress_callback": step})

    monkeypatch.setattr(module, "train_round", thrown_in_the_middle)
    busy = {**TRAINING, "epochs": 20}
    assert refused(one.train(1, training=busy)).reason == "the site has stopped everything that leaves"
    assert refused(one.ask(DESCRIBE, {"protocol": 1, "kind": "describe", "run": "r"})).cause == "policy"
    assert one.kinds() == ["failed", "failed"] and not list(one.folder.glob("kept-update.*"))
    monkeypatch.undo()
    KillSwitch(one.folder).resume()
    assert one.train(1)[1] is not None


def test_no_more_than_the_norm_leaves(server: Callable[..., Server], model: dict[str, Any]) -> None:
    shapes = {name: array.shape for name, array in model.items()}
    for form in ("fp32", "bf16", "int8"):
        one = server(max_update_norm=0.05)
        payload = one.ask(TRAIN, train_body(1, payload=form), pack_tensors(model).data)[1]
        assert payload is not None
        sent = unpack_tensors(payload, shapes, form)  # type: ignore[arg-type]
        norm = sum(float((array.astype(np.float64) ** 2).sum()) for array in sent.values()) ** 0.5
        assert 0.045 < norm <= 0.05 * (1 + 1e-6)
        entry = read_chain(one.log).entries[-1]
        assert entry["scaled"] < 1 and entry["norm"] == pytest.approx(norm, rel=1e-5)
