"""What a federation is set to do, and where it stands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.admission import Admission, Audit
from emr_fl_server.aggregation import AVERAGE, Kept, Strategy, build_strategy, moving_average
from emr_fl_server.aggregation import start as start_strategy
from emr_fl_server.asking import AlwaysThere, Presence
from emr_fl_server.checkpoints import Checkpoint, latest_checkpoint, load_best, save_checkpoint
from emr_fl_server.evaluation.evaluator import Evaluator, RoundScores
from emr_fl_shared.config import Settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import FederationError
from emr_fl_shared.labels import COLUMN, Taxonomy, check_several, column_taxonomy, load_taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import label_row_parameters
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.payload import beside, pack_tensors
from emr_fl_shared.wire import MOST, DescribeReply, EvaluateRequest, Objective, TrainReply, TrainRequest

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FederationState:
    """Where a federation stands after `round` complete rounds; everything that a resumed run needs.

    `tensors` are the global model that the next round goes on from; `kept` is what the strategy and the moving average keep.
    """

    round: int
    tensors: Tensors = field(repr=False)
    kept: Kept = field(default_factory=dict, repr=False)
    decision: Decision = field(default_factory=Decision)
    best_round: int = 0
    best_score: float = -1.0
    history: tuple[dict[str, Any], ...] = ()
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    resumed_at: int = 0
    """The round after which this process took the run up; 0 for a run of one piece."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that could not be used, a line each."""
    label_counts: dict[str, list[int]] = field(default_factory=dict)
    """Training records of each label at the sites that told them."""

    def after(
        self,
        number: int,
        tensors: Tensors,
        kept: Kept,
        scores: RoundScores,
        admission: Admission,
        timing: Mapping[str, float],
    ) -> FederationState:
        """The state after round `number`."""
        # in name order: who was faster must not change a sum
        replies = dict(sorted(admission.accepted.items()))
        sites = {name: dict(known) for name, known in self.sites.items()}
        for name, reply in replies.items():
            known = sites.setdefault(name, {"train_s": 0.0, "rounds": 0})
            known.update(
                n_train=reply.examples,
                n_validation=reply.validation_examples,
                device=reply.device,
                precision=reply.precision,
                peak_rss_mb=reply.peak_rss_mb,
                train_s=known["train_s"] + reply.seconds,
                rounds=known["rounds"] + 1,
            )
            if reply.received is not None:
                known.setdefault("received", {})[str(number - 1)] = reply.received.macro_f1
        macro = float(scores.validation[scores.best_by])
        better = macro > self.best_score
        losses = [(reply.loss, reply.examples) for reply in replies.values() if reply.loss is not None]
        entry = {
            "round": number,
            "sites": sorted(replies),
            "refused": dict(sorted(admission.refused.items())),
            "loss": sum(loss * n for loss, n in losses) / sum(n for _, n in losses) if losses else None,
            "validation": scores.validation,
            "sets": scores.sets,
            "decision": scores.decision.to_json(),
            "best": better,
            "cost": {
                **timing,
                "train_s": sum(reply.seconds for reply in replies.values()),
                "bytes_up": admission.bytes_up,
            },
        }
        counts = {
            name: reply.label_counts for name, reply in replies.items() if reply.label_counts is not None
        }
        return FederationState(
            round=number,
            tensors=tensors,
            kept=kept,
            decision=scores.decision,
            best_round=number if better else self.best_round,
            best_score=macro if better else self.best_score,
            history=(*self.history, entry),
            sites=sites,
            resumed_at=self.resumed_at,
            passed_over=self.passed_over,
            label_counts={**self.label_counts, **counts},
        )

    def finished(self, rounds: int, patience: int) -> bool:
        """Whether all rounds are done or `patience` rounds brought no better validation score (0: never)."""
        return self.round >= rounds or (patience > 0 and self.round - self.best_round >= patience)

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "decision": self.decision.to_json(),
            "best_round": self.best_round,
            "best_score": self.best_score,
            "history": list(self.history),
            "sites": self.sites,
            **({"label_counts": self.label_counts} if self.label_counts else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], stored: Tensors) -> FederationState:
        """The state with the tensors of its checkpoint."""
        tensors, kept = _parted(stored)
        return cls(
            round=int(data["round"]),
            tensors=tensors,
            kept=kept,
            decision=Decision.from_json(data["decision"]),
            best_round=int(data["best_round"]),
            best_score=float(data["best_score"]),
            history=tuple(data["history"]),
            sites=dict(data["sites"]),
            label_counts=dict(data.get("label_counts", {})),
        )

    def stored(self) -> Tensors:
        """All tensors under the names that they have in the checkpoint."""
        return {**self.tensors, **_named(self.kept)}


def evaluated(tensors: Tensors, kept: Kept) -> Tensors:
    """The model that is evaluated and saved: the moving average where there is one, otherwise the global model itself."""
    return dict(kept.get(AVERAGE, tensors))


def _named(kept: Kept) -> Tensors:
    return {beside(kind, name): array for kind, arrays in kept.items() for name, array in arrays.items()}


def _parted(stored: Tensors) -> tuple[Tensors, dict[str, Tensors]]:
    """The model's tensors and what is kept beside them, by kind."""
    tensors: Tensors = {}
    kept: dict[str, Tensors] = {}
    for key, array in stored.items():
        kind, found, name = key.partition(beside("", ""))
        if found:
            kept.setdefault(kind, {})[name] = array
        else:
            tensors[key] = array
    return tensors, kept


@dataclass
class Federation:
    """One federation: its resolved settings, its folder, and how to make its evaluator once the labels are known.

    `make_evaluator(taxonomy)` builds the model shell and the held-out sets; `held_out_labels()` names the labels that the
    server's own sets hold (used with `taxonomy = "column"`).
    """

    settings: Settings
    folder: Path
    make_evaluator: Callable[[Taxonomy], Evaluator]
    held_out_labels: Callable[[], list[str]]
    run: str = "run"
    taxonomy: Taxonomy | None = None
    evaluator: Evaluator | None = None
    site_names: tuple[str, ...] = ()
    """Who may take part, where that is known before they are there."""
    waits: bool = False
    """Whether sites may come late and come back: then the federation waits for them instead of ending."""
    presence: Presence = field(default_factory=AlwaysThere)
    stop_requested: Callable[[], bool] = lambda: False
    _found: Checkpoint | None = field(default=None, repr=False)
    """The checkpoint to take up, between `agree` and `start`."""

    def __post_init__(self) -> None:
        for name in ("checkpoints", "audit", "updates"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.audit = Audit(self.folder / "audit" / "server.jsonl")

    objective: ClassVar[Objective] = "classify"
    """What sites are asked to train for."""

    # --- settings that the round loop reads -----------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        assert self.settings.federation.rounds is not None
        return self.settings.federation.rounds

    @property
    def patience(self) -> int:
        assert self.settings.federation.patience is not None
        return self.settings.federation.patience

    @property
    def min_sites(self) -> int:
        return self.settings.federation.min_sites

    @property
    def expected_sites(self) -> int:
        """How many sites are known by name; at least `min_sites`."""
        return max(self.min_sites, len(self.site_names or self.settings.sites))

    @property
    def deadline(self) -> float:
        return self.settings.federation.round_deadline

    def enough(self, updates: int) -> bool:
        """Whether a round with this many updates counts."""
        return updates >= self.min_sites

    def pause(self, seconds: float) -> None:
        """Sleep, but not past a request to stop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop_requested():
            time.sleep(min(0.5, max(0.0, until - time.monotonic())))

    @property
    def max_norm_ratio(self) -> float:
        return self.settings.aggregation.max_norm_ratio

    @property
    def labels_from_data(self) -> bool:
        return self.settings.labels.taxonomy == COLUMN

    def label_rows(self) -> tuple[str, ...]:
        """Tensors with a row per label that are averaged over the sites that have the label; none if switched off."""
        assert self.evaluator is not None
        if self.settings.aggregation.label_rows == "all":
            return ()
        encoder = self.evaluator.encoder
        return tuple(label_row_parameters(encoder.model, len(encoder.labels)))

    def strategy(self, updates: int = 0) -> Strategy:
        """The rule of `[aggregation] strategy` for a round with this many updates."""
        participation = min(1.0, updates / self.expected_sites)
        return build_strategy(self.settings.aggregation, participation=participation)

    def averaged(self, number: int, state: FederationState, tensors: Tensors, kept: Kept) -> Kept:
        """`kept` with the moving average after round `number`, where one is set; `state` is that of the round before."""
        decay = self.settings.aggregation.ema
        if decay == 0.0:
            return kept
        average = moving_average(state.kept.get(AVERAGE), tensors, decay=decay, rounds=number)
        return {**kept, AVERAGE: average}

    # --- the life of a federation -----------------------------------------------------------------------------------

    def agree(self, described: Mapping[str, DescribeReply]) -> None:
        """Fix the label set and build the evaluator. Raises `DataError` if there are fewer than two labels.

        A label set taken from the data is fixed once: a run that is taken up keeps the one in its checkpoint, whichever sites
        are there now.
        """
        self._found = latest_checkpoint(self.folder / "checkpoints")
        known = self._found.state.get("labels") if self._found is not None else None
        if self.labels_from_data and known is not None:
            self.taxonomy = Taxonomy.from_json(known)
        elif self.labels_from_data:
            names = {label for reply in described.values() for label in reply.labels}
            self.taxonomy = column_taxonomy(sorted(names | set(self.held_out_labels())))
        else:
            self.taxonomy = load_taxonomy(self.settings.labels.taxonomy)
        check_several(self.taxonomy)
        self.evaluator = self.make_evaluator(self.taxonomy)

    def start(self) -> FederationState:
        """The newest complete checkpoint of this folder, or round 0 with fresh weights."""
        assert self.taxonomy is not None
        checkpoint, self._found = self._found, None  # not kept: it holds a whole model
        checkpoint = checkpoint or latest_checkpoint(self.folder / "checkpoints")
        if checkpoint is None:
            tensors = self.first()
            return FederationState(0, tensors, start_strategy(self.strategy(), tensors))
        if checkpoint.state["taxonomy"] != self.taxonomy.checksum:
            raise FederationError(
                tr("the checkpoint was made with other labels", "检查点使用了不同的标签体系"),
                where=str(self.folder / "checkpoints"),
            )
        state = FederationState.from_json(checkpoint.state["federation"], checkpoint.tensors)
        averages = (AVERAGE,) if self.settings.aggregation.ema else ()
        expected = {*self.strategy().kinds, *averages}
        if state.kept.keys() != expected or any(
            arrays.keys() != state.tensors.keys() for arrays in state.kept.values()
        ):
            raise FederationError(
                tr("the checkpoint was made with another strategy", "检查点使用了不同的聚合策略"),
                where=str(self.folder / "checkpoints"),
                got=", ".join(sorted(state.kept)) or "-",
                expected=", ".join(sorted(expected)) or "-",
                do=tr(
                    "set [aggregation] strategy and ema as they were, or start anew in another run folder",
                    "请恢复 [aggregation] 中原来的 strategy 与 ema，或在新的运行目录中重新开始",
                ),
            )
        self._write_metrics(state)
        return replace(state, resumed_at=state.round, passed_over=checkpoint.warnings)

    def first(self) -> Tensors:
        """What the first round starts from."""
        assert self.evaluator is not None
        return tensors_of(self.evaluator.encoder.model)

    def save(self, state: FederationState) -> None:
        """Write the checkpoint of a complete round, atomically, then the lines of `metrics.jsonl`."""
        assert self.taxonomy is not None
        save_checkpoint(
            self.folder / "checkpoints",
            state.round,
            state.stored(),
            {
                "federation": state.to_json(),
                "taxonomy": self.taxonomy.checksum,
                "labels": self.taxonomy.to_json(),
            },
            best=state.best_round == state.round,
        )
        self._write_metrics(state)

    def best(self, state: FederationState) -> FederationState:
        """The state with the evaluated tensors and the decision of the round that was best on validation; nothing is kept."""
        best = state
        if state.best_round not in (0, state.round):
            checkpoint = load_best(self.folder / "checkpoints")
            best = FederationState.from_json(checkpoint.state["federation"], checkpoint.tensors)
        return replace(state, tensors=evaluated(best.tensors, best.kept), kept={}, decision=best.decision)

    def evaluate(self, tensors: Tensors, replies: Mapping[str, TrainReply]) -> RoundScores:
        """Score a new global model on the held-out sets."""
        assert self.evaluator is not None
        single = all(reply.single_label for reply in replies.values())
        return self.evaluator.score(tensors, single_label=single)

    # --- messages -----------------------------------------------------------------------------------------------------

    def train_request(self, number: int, state: FederationState) -> TrainRequest:
        aggregation = self.settings.aggregation
        return TrainRequest(
            **self._common(state),
            round=number,
            rounds=self.rounds,
            payload=aggregation.payload,
            proximal=aggregation.fedprox.mu if aggregation.strategy == "fedprox" else 0.0,
            controls=bool(self.strategy().sent),
            effective_beta=aggregation.effective_beta
            if aggregation.weighting == "effective_labels"
            else None,
            label_counts=self._label_counts(state),
        )

    def _label_counts(self, state: FederationState) -> list[int] | None:
        """Records of each label over all sites that told theirs; `None` where sampling goes by each site's own."""
        if self.settings.training.balance_by == "site":
            return None
        return [min(sum(counts), MOST) for counts in zip(*state.label_counts.values(), strict=True)]

    def evaluate_request(self, state: FederationState) -> EvaluateRequest:
        return EvaluateRequest(**self._common(state), round=state.round)

    def model_payload(self, state: FederationState) -> bytes:
        """The global model as it goes down to the sites, fp32."""
        return pack_tensors(state.tensors).data

    def round_payload(self, state: FederationState) -> bytes:
        """What goes down with the request to train: the global model, and what the strategy sends beside it."""
        return pack_tensors(self._sent(state)).data

    def shapes(self, state: FederationState) -> dict[str, tuple[int, ...]]:
        """Of what goes down in a round, which is what an update has, too."""
        return {name: tuple(tensor.shape) for name, tensor in self._sent(state).items()}

    def _sent(self, state: FederationState) -> Tensors:
        return {**state.tensors, **_named({kind: state.kept[kind] for kind in self.strategy().sent})}

    def admission(self, number: int, state: FederationState) -> Admission:
        """An empty admission for round `number`; what an interrupted round left in its spool is deleted."""
        aggregation = self.settings.aggregation
        folder = self.folder / "updates"
        assert self.taxonomy is not None
        return Admission(
            folder,
            self.shapes(state),
            aggregation.payload,
            aggregation.weighting,
            self.audit,
            len(self.taxonomy.labels),
            self.objective,
        )

    def _common(self, state: FederationState) -> dict[str, Any]:
        assert self.taxonomy is not None
        return {
            "run": self.run,
            "seed": self.settings.seed,
            "model": self.settings.model.model_dump(mode="json"),
            "taxonomy": self.taxonomy.to_json(),
            "training": self.settings.training.model_dump(mode="json"),
            "decision": state.decision.to_json(),
        }

    def _write_metrics(self, state: FederationState) -> None:
        lines = []
        for entry in state.history:
            for name, scores in sorted({"validation": entry["validation"], **entry["sets"]}.items()):
                line = {"round": entry["round"], "set": name, **scores}
                lines.append(json.dumps(line, ensure_ascii=False, sort_keys=True))
        text = "\n".join(lines) + ("\n" if lines else "")
        write_durably(self.folder / "metrics.jsonl", [text.encode()])


def as_json(value: Any) -> str:
    """Readable JSON, Chinese left as it is."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=asdict)
