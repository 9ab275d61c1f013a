"""Flower wiring of a site: messages in, the egress door out."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from emr_fl_client.egress import Door
from emr_fl_client.site import Site
from emr_fl_shared.app import from_records
from emr_fl_shared.errors import EmrFlError, FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.preparation import label_counts
from emr_fl_shared.wire import (
    DescribeReply,
    DescribeRequest,
    EvaluateReply,
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    unpack,
)

SiteOf = Callable[[Context], tuple[Site, Door]]


def client_app(site_of: SiteOf) -> ClientApp:
    """The ClientApp of the site(s) that `site_of` finds for a Flower context.

    Every handler answers through the door; an exception never reaches Flower, whose error replies carry tracebacks.
    """
    app = ClientApp()

    def answer(handle: Callable[[Message, Site, Door], Message]) -> Callable[[Message, Context], Message]:
        def handler(message: Message, context: Context) -> Message:
            site, door = site_of(context)
            try:
                return handle(message, site, door)
            except Exception as error:
                reason = error.render() if isinstance(error, EmrFlError) else type(error).__name__
                site.progress({"doing": "failing", "reason": reason})  # in full, for the site's own eyes
                return door.failed(message, error)

        return handler

    app.query("describe")(answer(_describe))
    app.train("round")(answer(_train))
    app.evaluate("model")(answer(_evaluate))
    return app


def _describe(message: Message, site: Site, door: Door) -> Message:
    body, _ = from_records(message.content)
    request = unpack(body, DescribeRequest)
    settings = site.settings
    counts = label_counts(settings.records_source(), settings.columns) if request.label_names else {}
    reply = DescribeReply(
        site=site.name,
        labels=sorted(counts),
        emr_fl=version("emr-fl"),
        python=platform.python_version(),
        torch=version("torch"),
    )
    return door.describe(message, reply, counts)


def _train(message: Message, site: Site, door: Door) -> Message:
    body, model = from_records(message.content)
    request = unpack(body, TrainRequest)
    door.check(request)
    trained = site.train(request, _needed(model))
    reply = TrainReply(
        objective=request.objective,
        site=site.name,
        round=request.round,
        examples=trained.examples,
        validation_examples=trained.validation_examples,
        steps=trained.steps,
        seconds=trained.seconds,
        loss=trained.loss,
        received=trained.received,
        single_label=trained.single_label,
        payload=request.payload,
        device=trained.device,
        precision=trained.precision,
        peak_rss_mb=trained.peak_rss_mb,
        label_counts=trained.label_counts,
        effective_labels=trained.effective_labels,
    )
    return door.trained(message, reply, trained.update, trained.shapes)


def _evaluate(message: Message, site: Site, door: Door) -> Message:
    body, model = from_records(message.content)
    request = unpack(body, EvaluateRequest)
    scores = site.evaluate(request, _needed(model))
    return door.evaluated(message, EvaluateReply(site=site.name, round=request.round, scores=scores))


def _needed(payload: bytes | None) -> bytes:
    if payload is None:
        raise FederationError(
            tr("malformed message", "消息格式不正确"), where="payload", expected=tr("a model", "模型")
        )
    return payload


def progress_nowhere(_: dict[str, Any]) -> None:
    """For a site whose progress nobody watches."""
