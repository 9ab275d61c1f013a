"""One site's work on one request: prepare its data once, then train or evaluate the received model.

Knows tensors and records, not Flower; `app.py` connects it to Flower and `egress/` lets its results out.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.adversarial import AdversarialSettings, ConsistencySettings
from emr_fl_client.augment.at_site import site_rewriters
from emr_fl_client.augment.policy import DEFAULT_SHARES, NOISE_SHARES, RuleAugmenter
from emr_fl_client.augment.rewriter import Rewriters
from emr_fl_client.augment.translations import Translations
from emr_fl_client.controls import KeptControls
from emr_fl_client.dataset.ledger import FOLDER
from emr_fl_client.dataset.sampling import effective_count
from emr_fl_client.dataset.store import RecordStore
from emr_fl_client.kept import KeptUpdate, question_digest
from emr_fl_client.kept_masked_lm import KeptMaskedLM
from emr_fl_client.training.averaging import AveragingSettings
from emr_fl_client.training.loop import TrainingSettings, train_round
from emr_fl_client.training.losses import LossSettings
from emr_fl_client.training.pretraining import PretrainingSettings, pretrain_round
from emr_fl_client.training.proximal import Proximal
from emr_fl_client.training.scaffold import ControlVariate
from emr_fl_client.training.step import GradientTerm, OptimiserSettings
from emr_fl_shared.config.settings import TINY, Augmentation, Pretraining, Rewriting, SiteSettings, Training
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.configured import files_digest, site_deidentifier
from emr_fl_shared.deidentify.gate import is_off, measure_site, refuse_below
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import EmrFlError, FederationError
from emr_fl_shared.labels import NO_LOCAL_LABELS, Taxonomy
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.memory import peak_rss_mb
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import Decision, score_set
from emr_fl_shared.model.encoder import Encoder, build_model, encode, predict_logits
from emr_fl_shared.model.masked_lm import MaskedLM, build_masked_lm
from emr_fl_shared.model.precision import choose_device, choose_precision
from emr_fl_shared.model.tensors import load_tensors, shapes_of, tensors_of
from emr_fl_shared.payload import CONTROL, PayloadReader, beside, pack_tensors, unpack_tensors
from emr_fl_shared.preparation import Prepared
from emr_fl_shared.wire import EvaluateRequest, SiteScores, TrainRequest, pack

Progress = Callable[[dict[str, Any]], None]
Tensors = dict[str, NDArray[np.float32]]

PRETRAINING = "pretraining"
"""Folder, in a site's state, of what passes between rounds of masked language modelling."""
_PURPOSE = {"classify": "train", "mlm": "pretrain"}


class InRound(TypedDict):
    """What both kinds of training are told of the round that they are in."""

    terms: list[GradientTerm]
    round_number: int
    rounds: int
    seed: int
    progress_callback: Callable[[int, int, float], None]


@dataclass(frozen=True)
class SiteData:
    """A site's prepared records: `prepared` and which of them train (`train`) and validate (`validation`)."""

    prepared: Prepared
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    present: NDArray[np.bool_]
    """bool [K]: labels that occur in the training records."""

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.prepared.texts[row] for row in rows]

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.prepared.labels[rows]


@dataclass(frozen=True)
class Trained:
    """What a round of local training gave; nothing of it has left the site yet."""

    update: bytes = field(repr=False)
    shapes: dict[str, tuple[int, ...]]
    examples: int
    validation_examples: int
    steps: int
    seconds: float
    loss: float
    received: SiteScores | None
    single_label: bool
    device: str
    precision: str
    peak_rss_mb: float
    label_counts: list[int] | None = None
    effective_labels: float | None = None

    def figures(self) -> dict[str, Any]:
        """Everything but the update, as JSON has it."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "update"}
        received = plain["received"]
        return {**plain, "received": received.model_dump() if received is not None else None}

    @classmethod
    def from_figures(cls, update: bytes, figures: dict[str, Any]) -> Trained:
        """The inverse of `figures`."""
        shapes = {name: tuple(shape) for name, shape in figures["shapes"].items()}
        received = SiteScores(**figures["received"]) if figures["received"] is not None else None
        return cls(**{**figures, "update": update, "shapes": shapes, "received": received})


@dataclass
class Site:
    """A hospital: its name, its settings, what it keeps between rounds in memory (data and model shell), and the
    folder for what must survive its process (`state_folder`; what is of a record there is de-identified and sealed).

    `key` keys the pseudonyms; `seal_key` seals what is kept of the records, where it is not to be the same. `local_labels`: the
    site's own mapping, its signature checked.
    """

    name: str
    settings: SiteSettings
    state_folder: Path
    key: bytes = field(repr=False)
    progress: Progress = field(default=lambda _: None, repr=False)
    seal_key: bytes | None = field(default=None, repr=False)
    local_labels: LocalMapping | None = field(default=None, repr=False)
    _data: tuple[str, SiteData] | None = field(default=None, repr=False)
    _network: tuple[str, Encoder | MaskedLM] | None = field(default=None, repr=False)

    def train(self, request: TrainRequest, model: bytes) -> Trained:
        """Train the received model for one round on the site's own records.

        A question that was answered already is answered again with the update that is kept on disk.
        """
        question = question_digest(pack(request), model)
        kept = KeptUpdate(self.state_folder)
        if (found := kept.find(question)) is not None:
            # figures that another version of this package wrote may lack a field: then it is trained again
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                trained = Trained.from_figures(found[0], found[1])
                self.progress({"doing": "sending-again"})
                return trained
        trained = self._train(request, model)
        kept.keep(question, trained.update, trained.figures())
        return trained

    def _train(self, request: TrainRequest, model: bytes) -> Trained:
        training = Training.model_validate(request.training)
        taxonomy = Taxonomy.from_json(request.taxonomy)
        data = self.data(taxonomy, training, request.seed, standardised=_standardised(request.model))
        network = self._built(request.model, taxonomy, training, request.objective)
        control = self._received(network, model, controls=request.controls)
        encoder = network if isinstance(network, Encoder) else None
        received = (
            self._score(encoder, data, Decision.from_json(request.decision), training) if encoder else None
        )
        before = tensors_of(network.model)
        counts = data.labels(data.train).sum(axis=0)
        proximal = [Proximal(network.model, request.proximal)] if request.proximal else []
        variate = self._variate(request, network, control) if request.controls else None
        texts = data.texts(data.train)
        in_round: InRound = {
            "terms": [*proximal, *([variate] if variate else [])],
            "round_number": request.round,
            "rounds": request.rounds,
            "seed": stream_seed(request.seed, self.name, request.round, _PURPOSE[request.objective]),
            "progress_callback": lambda step, steps, loss: self.progress(
                {"round": request.round, "step": step, "steps": steps, "loss": loss}
            ),
        }
        if isinstance(network, Encoder):
            augmenter, noiser = _augmenter(training, self.settings.rewriting), _noiser(training)
            rewriters = self._rewriters(request, training, augmenter)
            result = train_round(
                network,
                texts,
                data.labels(data.train),
                training_settings(training),
                label_mask=data.present if training.mask_absent_labels else None,
                chapters=taxonomy.chapters,
                label_counts=_federation_counts(request, len(counts)),
                augment=augmenter.augment if augmenter else None,
                rewriters=rewriters,
                noise=noiser.augment if noiser else None,
                **in_round,
            )
            for rewriter in rewriters or ():
                self.progress(
                    {
                        "doing": "rewritten",
                        "operator": rewriter.name,
                        "changed": rewriter.changed,
                        "rejected": dict(rewriter.rejected),
                    }
                )
        else:
            result = pretrain_round(network, texts, pretraining_settings(request, training), **in_round)
        after = tensors_of(network.model)
        if not isinstance(network, Encoder):
            self._kept_masked_lm(request.run).keep(after)
        difference = {name: after[name] - before[name] for name in before}
        own = {beside(CONTROL, name): array for name, array in variate.control().items()} if variate else {}
        update = self._encode_update(difference, own, request)
        return Trained(
            update=update,
            shapes={name: tuple(tensor.shape) for name, tensor in {**before, **own}.items()},
            examples=len(data.train),
            validation_examples=len(data.validation),
            steps=result.steps,
            seconds=result.seconds,
            loss=result.loss,
            received=received,
            single_label=bool((data.labels(data.train).sum(axis=1) == 1).all()),
            device=next(network.model.parameters()).device.type,
            precision=result.precision,
            peak_rss_mb=peak_rss_mb(),
            label_counts=None if request.label_counts is None else [int(count) for count in counts],
            effective_labels=(
                None if request.effective_beta is None else effective_count(counts, request.effective_beta)
            ),
        )

    def evaluate(self, request: EvaluateRequest, model: bytes) -> SiteScores | None:
        """Score the received model on the site's own validation records; `None` if it has none."""
        training = Training.model_validate(request.training)
        taxonomy = Taxonomy.from_json(request.taxonomy)
        data = self.data(taxonomy, training, request.seed, standardised=_standardised(request.model))
        encoder = self._built(request.model, taxonomy, training)
        assert isinstance(encoder, Encoder)
        self._received(encoder, model)
        return self._score(encoder, data, Decision.from_json(request.decision), training)

    def data(
        self, taxonomy: Taxonomy, training: Training, seed: int, *, standardised: bool = False
    ) -> SiteData:
        """The site's records, prepared on first use (or taken from the sealed cache) and kept in memory; `standardised`: as
        the model's description says.

        Raises `DataError` if nothing is left to train on, `PolicyError` if the split ledger is damaged or the site's own
        de-identification finds too few of the identifiers that it plants into the records, `SettingsError` if the site's own
        mapping does not fit the label set.
        """
        key = f"{taxonomy.checksum}|{training.split}|{training.validation_share}|{seed}|{standardised}"
        if self._data is None or self._data[0] != key:
            store = RecordStore(
                self.state_folder,
                self.seal_key or self.key,
                where=f"sites.{self.name}.source",
                progress=self.progress,
            )
            cleaner = site_deidentifier(self.settings, key=self.key)
            own = self.local_labels
            prepared = store.prepared(
                self.settings.records_source(),
                self.settings.columns,
                taxonomy,
                key=self.key,
                settings={
                    **self.settings.model_dump(
                        mode="json", exclude={"source", "model", "policy", "local_labels", "rewriting"}
                    ),
                    "files": files_digest(self.settings),
                    "local_labels": own.digest if own is not None else "",
                },
                deidentifier=cleaner,
                local=own.bind(taxonomy) if own is not None else NO_LOCAL_LABELS,
                standardised=standardised,
            )
            self._pass_gate(prepared, cleaner)
            split = store.split(
                prepared,
                kind=training.split,
                validation_share=training.validation_share,
                seed=stream_seed(seed, self.name, 0, "split"),
            )
            present = np.asarray(prepared.labels[split.train].any(axis=0))
            self._data = (key, SiteData(prepared, split.train, split.validation, present))
        return self._data[1]

    def _pass_gate(self, prepared: Prepared, cleaner: Deidentifier) -> None:
        policy = self.settings.policy
        if is_off(policy):
            return
        recall = measure_site(prepared.texts, cleaner)
        refuse_below(recall, policy, where=f"sites.{self.name}.policy")

    def _built(
        self, model: dict[str, Any], taxonomy: Taxonomy, training: Training, objective: str = "classify"
    ) -> Encoder | MaskedLM:
        """The shell of the model that a request names, on the device of training; the last one is kept."""
        key = f"{objective}|{model['name']}|{model['max_length']}|{taxonomy.checksum}"
        if self._network is None or self._network[0] != key:
            name, length = self._own_copy(str(model["name"])), int(model["max_length"])
            built: Encoder | MaskedLM
            if objective == "mlm":
                built = build_masked_lm(name, max_length=length)
            else:
                built = build_model(name, taxonomy.names, max_length=length)
            built.model.to(choose_device(training.device))
            self._network = (key, built)
        return self._network[1]

    def _own_copy(self, name: str) -> str:
        """Where this site has the encoder of that name."""
        return self.settings.model if self.settings.model is not None and name != TINY else name

    def _received(self, network: Encoder | MaskedLM, tensors: bytes, *, controls: bool = False) -> Tensors:
        """Put the received tensors into the model; returns the server's control variate (empty without `controls`)."""
        shapes = shapes_of(network.model)
        kinds = {name: beside(CONTROL, name) for name in shapes} if controls else {}
        try:
            received = unpack_tensors(tensors, {**shapes, **{kinds[name]: shapes[name] for name in kinds}})
            control = {name: received.pop(kinds[name]) for name in kinds}
            load_tensors(network.model, received)
        except EmrFlError as error:
            raise FederationError(
                tr("the received model does not fit the one named", "收到的模型与名称不符"),
                where=f"model.name = {network.name}",
                got=error.message,
            ) from None
        return control

    def _kept_masked_lm(self, run: str) -> KeptMaskedLM:
        return KeptMaskedLM(self.state_folder / PRETRAINING, self.seal_key or self.key, run)

    def _rewriters(
        self, request: TrainRequest, training: Training, rules: RuleAugmenter | None
    ) -> Rewriters | None:
        """The operators of `[training.augmentation]` that need a model, as far as this site has one."""
        augmentation = training.augmentation
        if not augmentation.rewriter_shares() or _is_off(augmentation):
            return None
        return site_rewriters(
            augmentation,
            self.settings.rewriting,
            rules_share=rules.weight if rules else 0.0,
            encoder=self._own_copy(str(request.model["name"])),
            max_length=int(request.model["max_length"]),
            kept=self._kept_masked_lm(request.run),
            cache=Translations(self.state_folder / FOLDER, self.seal_key or self.key),
            device=choose_device(training.device),
            where=f"sites.{self.name}.rewriting",
            progress=self.progress,
        )

    def _controls(self, request: TrainRequest) -> KeptControls:
        return KeptControls(self._rounds_folder(request), self.seal_key or self.key, request.run)

    def _rounds_folder(self, request: TrainRequest) -> Path:
        """Where what passes from round to round is kept; rounds of pretraining are counted by themselves."""
        return self.state_folder / PRETRAINING if request.objective == "mlm" else self.state_folder

    def _variate(
        self, request: TrainRequest, network: Encoder | MaskedLM, control: Tensors
    ) -> ControlVariate:
        own = self._controls(request).before(request.round, shapes_of(network.model))
        return ControlVariate(network.model, control, own)

    def _encode_update(self, difference: Tensors, own: Tensors, request: TrainRequest) -> bytes:
        """The difference and the site's own control variate as bytes.

        What rounding left over of the difference is kept at the site and added to the next round's. The control variate is no
        difference: it is kept as the server gets it, so that both sides go on from the same one.
        """
        sent = {**difference, **own}
        if request.payload == "fp32":
            data = pack_tensors(sent).data
        else:
            data = self._encode_rounded(difference, sent, request)
        if own:
            shapes = {name: tuple(array.shape) for name, array in sent.items()}
            with PayloadReader(data, shapes, request.payload) as reader:
                received = {name: reader.read(beside(CONTROL, name)) for name in difference}
            self._controls(request).keep(request.round, received)
        return data

    def _encode_rounded(self, difference: Tensors, sent: Tensors, request: TrainRequest) -> bytes:
        previous = self._residual_file(request, -1)
        residual = None
        if previous.is_file():
            shapes = {name: tuple(array.shape) for name, array in difference.items()}
            residual = unpack_tensors(previous.read_bytes(), shapes)
            nothing = np.zeros((), np.float32)  # of the control variates, as a view that takes no memory
            residual |= {
                name: np.broadcast_to(nothing, array.shape)
                for name, array in sent.items()
                if name not in difference
            }
        packed = pack_tensors(sent, request.payload, residual=residual)
        lost = {name: packed.residual[name] for name in difference}
        write_durably(self._residual_file(request), [pack_tensors(lost).data])
        # The last two rounds stay: a coordinator that crashed now asks for this round once more, or, where its newest
        # checkpoint is damaged (it keeps two), for the one before.
        self._residual_file(request, -3).unlink(missing_ok=True)
        return packed.data

    def _residual_file(self, request: TrainRequest, later: int = 0) -> Path:
        return self._rounds_folder(request) / f"residual-{request.round + later:05d}.safetensors"

    def _score(
        self, encoder: Encoder, data: SiteData, decision: Decision, training: Training
    ) -> SiteScores | None:
        if len(data.validation) == 0:
            return None
        precision = choose_precision(
            training.precision, next(encoder.model.parameters()).device, encoder.parameters
        )
        token_ids = encode(encoder.tokenizer, data.texts(data.validation), encoder.max_length)
        logits = predict_logits(encoder.model, token_ids, precision=precision)
        scores = score_set(data.labels(data.validation), decision.probabilities(logits), decision)
        return SiteScores(
            n=len(data.validation), macro_f1=float(scores["macro_f1"]), micro_f1=float(scores["micro_f1"])
        )


def _standardised(model: Mapping[str, Any]) -> bool:
    """Whether the model of a request reads standardised texts."""
    return bool(model.get("standardise", False))


def stream_seed(seed: int, site: str, round: int, purpose: str) -> int:
    """An independent 63-bit seed for each (run, site, round, purpose), the same on every machine."""
    digest = hashlib.sha256(f"{seed}|{site}|{round}|{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def training_settings(training: Training) -> TrainingSettings:
    """The arguments of `train_round` that a federation's `[training]` stands for."""
    if training.epochs is None or training.learning_rate is None:
        raise FederationError(
            tr("the training settings are not resolved", "训练设置不完整"),
            where="training",
            expected="epochs, learning_rate",
        )
    adversarial = training.adversarial.model_dump(exclude={"preset"}, exclude_none=True)
    return TrainingSettings(
        epochs=training.epochs,
        batch_size=training.batch_size,
        warmup=training.warmup,
        balance=training.balance,
        augment_probability=training.augmentation.probability,
        mixup_probability=training.mixup.probability,
        mixup_alpha=training.mixup.alpha,
        precision=training.precision,
        micro_batch=training.micro_batch,
        optimiser=OptimiserSettings(
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
        ),
        loss=LossSettings(**training.loss.model_dump()),
        adversarial=AdversarialSettings(**{**adversarial, "phases": tuple(adversarial["phases"])}),
        consistency=ConsistencySettings(**training.consistency.model_dump()),
        averaging=AveragingSettings(**training.averaging.model_dump()),
    )


def pretraining_settings(request: TrainRequest, training: Training) -> PretrainingSettings:
    """The arguments of `pretrain_round` that a request with objective `mlm` stands for."""
    pretraining = Pretraining.model_validate(request.pretraining or {})
    if pretraining.learning_rate is None:
        raise FederationError(
            tr("the training settings are not resolved", "训练设置不完整"),
            where="pretraining",
            expected="learning_rate",
        )
    return PretrainingSettings(
        epochs=pretraining.epochs,
        batch_size=training.batch_size,
        mask=pretraining.mask,
        warmup=training.warmup,
        precision=training.precision,
        micro_batch=training.micro_batch,
        optimiser=OptimiserSettings(
            learning_rate=pretraining.learning_rate,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
        ),
    )


def _federation_counts(request: TrainRequest, labels: int) -> NDArray[np.int64] | None:
    """Records of each label in the federation, int64 [K]; `None` where sampling goes by the site's own, or nobody told yet."""
    if not request.label_counts:
        return None
    if len(request.label_counts) != labels:
        raise FederationError(
            tr("malformed message", "消息格式不正确"),
            where="label_counts",
            got=str(len(request.label_counts)),
            expected=str(labels),
        )
    return np.asarray(request.label_counts, dtype=np.int64)


def _is_off(augmentation: Augmentation) -> bool:
    return not augmentation.enabled or augmentation.probability == 0.0


def _augmenter(training: Training, rewriting: Rewriting) -> RuleAugmenter | None:
    """The rule operators; without the models for it, back-translation gives its share to the pivot."""
    settings = training.augmentation
    shares = {**DEFAULT_SHARES, **settings.shares()}
    if rewriting.forward is None:
        shares["pivot"] += settings.back_translation
    if _is_off(settings) or not any(shares.values()):
        return None
    return RuleAugmenter(shares)


def _noiser(training: Training) -> RuleAugmenter | None:
    """What makes the noised copies of `[training.consistency]`."""
    return RuleAugmenter(NOISE_SHARES) if training.consistency.weight else None
