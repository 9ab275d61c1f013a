"""Every message that crosses between the coordinator and a site: names, shapes, limits.

A message is one JSON body (below, at most `MAX_BODY_BYTES`) and, for models and updates, one payload of tensors
(`payload.py`). Unknown fields, wrong protocol versions and over-long values are refused by either side. Flower carries
both; how is in `app.py` beside this module.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr

MAX_BODY_BYTES = 4 * 2**20

DESCRIBE = "query.describe"
TRAIN = "train.round"
EVALUATE = "evaluate.model"

Name = Annotated[str, Field(min_length=1, max_length=128)]
MOST = 2**40
Count = Annotated[int, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Objective = Literal["classify", "mlm"]
LabelCounts = Annotated[list[Count], Field(max_length=10_000)]


class Body(BaseModel):
    """Base of all bodies: frozen, unknown fields refused, protocol checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: Literal[1] = 1


class DescribeRequest(Body):
    """Coordinator → site: who are you, and (with `taxonomy = "column"`) which labels do you have?"""

    kind: Literal["describe"] = "describe"
    run: Name
    label_names: bool = False


class DescribeReply(Body):
    """Site → coordinator. `labels` holds only names that the site's policy lets out."""

    kind: Literal["described"] = "described"
    site: Name
    labels: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=10_000)] = []
    emr_fl: Name
    python: Name
    torch: Name


class TrainRequest(Body):
    """Coordinator → site, with the global model as payload."""

    kind: Literal["train"] = "train"
    run: Name
    round: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    seed: Count
    model: dict[str, Any]
    """`name` and `max_length`: what to build before the payload is loaded into it; `standardise`: what its texts go through first."""
    taxonomy: Annotated[str, Field(max_length=2 * 2**20)]
    training: dict[str, Any]
    decision: dict[str, Any]
    payload: Literal["fp32", "bf16", "int8"] = "fp32"
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight μ of FedProx's proximal term."""
    controls: bool = False
    """Whether SCAFFOLD's control variate comes beside the model; then the site's own goes back beside the update."""
    effective_beta: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Where it is set, the site's update is weighed by its effective label count, which the reply has to tell."""
    label_counts: LabelCounts | None = None
    """Training records of each label at all sites that told theirs, empty while none has; `None` where nobody asks."""
    objective: Objective = "classify"
    """`mlm`: the payload is a masked language model, to be trained on the texts alone as `pretraining` says."""
    pretraining: dict[str, Any] | None = None


class EvaluateRequest(Body):
    """Coordinator → site, with the global model as payload: score it on your own validation records."""

    kind: Literal["evaluate"] = "evaluate"
    run: Name
    round: Count
    seed: Count
    model: dict[str, Any]
    taxonomy: Annotated[str, Field(max_length=2 * 2**20)]
    training: dict[str, Any]
    decision: dict[str, Any]


class SiteScores(Body):
    """Scores of the received model on the site's own validation records."""

    n: Count
    macro_f1: Fraction
    micro_f1: Fraction


class TrainReply(Body):
    """Site → coordinator, with the update (difference to the received model) as payload."""

    kind: Literal["trained"] = "trained"
    objective: Objective = "classify"
    site: Name
    round: Annotated[int, Field(ge=1)]
    examples: Annotated[int, Field(ge=1, le=2**40)]
    validation_examples: Count
    steps: Annotated[int, Field(ge=1)]
    seconds: Seconds
    loss: Annotated[float, Field(allow_inf_nan=False)] | None = None
    received: SiteScores | None = None
    single_label: bool
    """Whether every training record of the site has exactly one label."""
    label_counts: LabelCounts | None = None
    """Training records of each label, where asked for and the site's policy lets them out."""
    effective_labels: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Sum over the labels of the effective numbers of their training records; the same."""
    payload: Literal["fp32", "bf16", "int8"]
    device: Name
    precision: Name
    peak_rss_mb: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EvaluateReply(Body):
    """Site → coordinator."""

    kind: Literal["evaluated"] = "evaluated"
    site: Name
    round: Count
    scores: SiteScores | None = None


class Failure(Body):
    """Site → coordinator: the request was not carried out; `reason` never holds record text."""

    kind: Literal["failed"] = "failed"
    site: Name
    cause: Literal["policy", "data", "internal"]
    reason: Annotated[str, Field(max_length=2000)]


BodyT = TypeVar("BodyT", bound=Body)


def pack(body: Body) -> str:
    """The body as JSON text."""
    return body.model_dump_json()


def unpack(text: str, kind: type[BodyT]) -> BodyT:
    """Parse and check a body. Raises `FederationError` that names the field, never its value."""
    if len(text.encode()) > MAX_BODY_BYTES:
        raise FederationError(
            tr("the message is too large", "消息过大"),
            got=tr(f"{len(text)} characters", f"{len(text)} 个字符"),
            expected=tr(f"at most {MAX_BODY_BYTES} bytes", f"至多 {MAX_BODY_BYTES} 字节"),
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FederationError(
            tr("malformed message", "消息格式不正确"),
            where=place or kind.__name__,
            got=first["type"],
            expected=kind.__name__,
        ) from None


def unpack_reply(text: str, kind: type[BodyT]) -> BodyT | Failure:
    """Parse a site's reply: `kind`, or the `Failure` that stands in its place."""
    if len(text.encode()) <= MAX_BODY_BYTES:
        try:
            return Failure.model_validate_json(text)
        except ValidationError:
            return unpack(text, kind)
    return unpack(text, kind)
