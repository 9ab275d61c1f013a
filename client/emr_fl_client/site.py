"""One site's work on one request: prepare its data once, then train or evaluate the received model.

Knows tensors and records, not Flower; `app.py` connects it to Flower and `egress/` lets its results out.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.adversarial import AdversarialSettings, ConsistencySettings
from emr_fl_client.augment.policy import DEFAULT_SHARES, NOISE_SHARES, RuleAugmenter
from emr_fl_client.budget import LEDGER, PrivacyLedger
from emr_fl_client.controls import KeptControls
from emr_fl_client.dataset.sampling import effective_count
from emr_fl_client.dataset.store import RecordStore
from emr_fl_client.kept import KeptUpdate, question_digest
from emr_fl_client.training.averaging import AveragingSettings
from emr_fl_client.training.loop import TrainingSettings, train_round
from emr_fl_client.training.losses import LossSettings
from emr_fl_client.training.proximal import Proximal
from emr_fl_client.training.scaffold import ControlVariate
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.config.settings import BUILT_HERE, DifferentialPrivacy, SiteSettings, Training
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.configured import files_digest, site_deidentifier
from emr_fl_shared.deidentify.gate import is_off, measure_site, refuse_below
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError
from emr_fl_shared.labels import NO_LOCAL_LABELS, Taxonomy
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.memory import peak_rss_mb
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import Decision, score_set
from emr_fl_shared.model.encoder import Encoder, build_model, encode, predict_logits
from emr_fl_shared.model.precision import choose_device, choose_precision
from emr_fl_shared.model.tensors import load_tensors, shapes_of, tensors_of
from emr_fl_shared.payload import CONTROL, PayloadReader, beside, pack_tensors, pack_within, unpack_tensors
from emr_fl_shared.preparation import Prepared
from emr_fl_shared.wire import EvaluateRequest, SiteScores, TrainRequest, pack

Progress = Callable[[dict[str, Any]], None]
Tensors = dict[str, NDArray[np.float32]]


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
    loss: float | None
    received: SiteScores | None
    single_label: bool
    device: str
    precision: str
    peak_rss_mb: float
    label_counts: list[int] | None = None
    effective_labels: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    unit: Literal["record", "patient"] | None = None
    scale: float = 1.0
    """What the difference was scaled by to keep the norm of the site's policy."""

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
    _encoder: tuple[str, Encoder] | None = field(default=None, repr=False)

    def train(self, request: TrainRequest, model: bytes) -> Trained:
        """Train the received model for one round on the site's own records.

        A question that was answered already is answered again with the update that is kept on disk.
        """
        question = question_digest(pack(request), model)
        if (limit := self.settings.policy.max_update_norm) is not None:  # another limit, another update
            question = f"{question}|{limit!r}"
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
        wish = self._privacy(request.privacy)
        training = Training.model_validate(request.training)
        if wish.enabled:
            return self._train_privately(request, wish, training, model)
        taxonomy = Taxonomy.from_json(request.taxonomy)
        data = self.data(taxonomy, training, request.seed, standardised=_standardised(request.model))
        encoder, control = self._load(request.model, taxonomy, model, training, controls=request.controls)
        received = self._score(encoder, data, Decision.from_json(request.decision), training)
        before = tensors_of(encoder.model)
        counts = data.labels(data.train).sum(axis=0)
        proximal = [Proximal(encoder.model, request.proximal)] if request.proximal else []
        variate = self._variate(request, encoder, control) if request.controls else None
        augmenter, noiser = _augmenter(training), _noiser(training)
        result = train_round(
            encoder,
            data.texts(data.train),
            data.labels(data.train),
            training_settings(training),
            label_mask=data.present if training.mask_absent_labels else None,
            chapters=taxonomy.chapters,
            label_counts=_federation_counts(request, len(counts)),
            terms=[*proximal, *([variate] if variate else [])],
            round_number=request.round,
            rounds=request.rounds,
            seed=stream_seed(request.seed, self.name, request.round, "train"),
            augment=augmenter.augment if augmenter else None,
            noise=noiser.augment if noiser else None,
            progress_callback=self._step_progress(request.round),
        )
        after = tensors_of(encoder.model)
        difference = {name: after[name] - before[name] for name in before}
        own = {beside(CONTROL, name): array for name, array in variate.control().items()} if variate else {}
        update, scale = self._encode_update(difference, own, request)
        return Trained(
            update=update,
            scale=scale,
            shapes={name: tuple(tensor.shape) for name, tensor in {**before, **own}.items()},
            examples=len(data.train),
            validation_examples=len(data.validation),
            steps=result.steps,
            seconds=result.seconds,
            loss=result.loss,
            received=received,
            single_label=bool((data.labels(data.train).sum(axis=1) == 1).all()),
            device=next(encoder.model.parameters()).device.type,
            precision=result.precision,
            peak_rss_mb=peak_rss_mb(),
            label_counts=None if request.label_counts is None else [int(count) for count in counts],
            effective_labels=(
                None if request.effective_beta is None else effective_count(counts, request.effective_beta)
            ),
        )

    def _train_privately(
        self, request: TrainRequest, wish: DifferentialPrivacy, training: Training, model: bytes
    ) -> Trained:
        """`_train` under differential privacy: only what the budget counts is in what comes out.

        Public are the numbers of records: the guarantee is about what a record says, not whether there are so many.
        """
        from emr_fl_client.private import check_request, spend_and_train  # imports opacus

        check_request(request, training)
        taxonomy = Taxonomy.from_json(request.taxonomy)
        data = self.data(taxonomy, training, request.seed, standardised=_standardised(request.model))
        encoder, _ = self._load(request.model, taxonomy, model, training)
        before = tensors_of(encoder.model)
        augmenter = _augmenter(training)
        result, allowance = spend_and_train(
            request,
            wish,
            data,
            encoder,
            training_settings(training),
            ledger=self._budget(),
            key=self.key,
            chapters=taxonomy.chapters,
            augment=augmenter.augment if augmenter else None,
            progress_callback=self._step_progress(request.round),
        )
        after = tensors_of(encoder.model)
        difference = {name: after[name] - before[name] for name in before}
        update, scale = self._encode_update(difference, {}, request)
        return Trained(
            update=update,
            scale=scale,
            shapes={name: tuple(tensor.shape) for name, tensor in before.items()},
            examples=len(data.train),
            validation_examples=len(data.validation),
            steps=result.steps,
            seconds=result.seconds,
            loss=None,
            received=None,
            single_label=False,
            device=next(encoder.model.parameters()).device.type,
            precision=result.precision,
            peak_rss_mb=peak_rss_mb(),
            epsilon=allowance.epsilon,
            delta=allowance.delta,
            unit=wish.unit,
        )

    def _privacy(self, asked: Mapping[str, Any]) -> DifferentialPrivacy:
        """What the server wishes. Raises `PolicyError` where it wishes none and the records have a budget."""
        wish = DifferentialPrivacy.model_validate(asked)
        if not wish.enabled and self._budget().exists():
            raise PolicyError(
                tr(
                    "these records have a privacy budget, and a training without differential privacy would void it",
                    "这些病历已有隐私预算，不采用差分隐私的训练会使其失效",
                ),
                where="privacy.dp.enabled",
                got="false",
                expected="true",
                do=tr(
                    f"agree on [privacy.dp] with the server; who gives up what was promised deletes {LEDGER} at the site",
                    f"请与服务器商定 [privacy.dp]；若放弃已作出的保证，可在本机构删除 {LEDGER}",
                ),
            )
        return wish

    def _budget(self) -> PrivacyLedger:
        return PrivacyLedger(self.state_folder, self.key)

    def _step_progress(self, number: int) -> Callable[[int, int, float], None]:
        return lambda step, steps, loss: self.progress(
            {"round": number, "step": step, "steps": steps, "loss": loss}
        )

    def evaluate(self, request: EvaluateRequest, model: bytes) -> SiteScores | None:
        """Score the received model on the site's own validation records; `None` if it has none, or under differential privacy: no
        budget counts a score."""
        if DifferentialPrivacy.model_validate(request.privacy).enabled or self._budget().exists():
            return None
        training = Training.model_validate(request.training)
        taxonomy = Taxonomy.from_json(request.taxonomy)
        data = self.data(taxonomy, training, request.seed, standardised=_standardised(request.model))
        encoder, _ = self._load(request.model, taxonomy, model, training)
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
                        mode="json", exclude={"source", "model", "policy", "policy_file", "local_labels"}
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

    def _load(
        self,
        model: dict[str, Any],
        taxonomy: Taxonomy,
        tensors: bytes,
        training: Training,
        *,
        controls: bool = False,
    ) -> tuple[Encoder, Tensors]:
        """The encoder with the received tensors in it, and the server's control variate (empty without `controls`)."""
        key = f"{model['name']}|{model['max_length']}|{taxonomy.checksum}"
        if self._encoder is None or self._encoder[0] != key:
            name = str(model["name"])
            if self.settings.model is not None and name not in BUILT_HERE:
                name = self.settings.model
            built = build_model(name, taxonomy.names, max_length=int(model["max_length"]))
            built.model.to(choose_device(training.device))
            self._encoder = (key, built)
        encoder = self._encoder[1]
        shapes = shapes_of(encoder.model)
        kinds = {name: beside(CONTROL, name) for name in shapes} if controls else {}
        try:
            received = unpack_tensors(tensors, {**shapes, **{kinds[name]: shapes[name] for name in kinds}})
            control = {name: received.pop(kinds[name]) for name in kinds}
            load_tensors(encoder.model, received)
        except EmrFlError as error:
            raise FederationError(
                tr("the received model does not fit the one named", "收到的模型与名称不符"),
                where=f"model.name = {model['name']}",
                got=error.message,
            ) from None
        return encoder, control

    def _controls(self, request: TrainRequest) -> KeptControls:
        return KeptControls(self.state_folder, self.seal_key or self.key, request.run)

    def _variate(self, request: TrainRequest, encoder: Encoder, control: Tensors) -> ControlVariate:
        own = self._controls(request).before(request.round, shapes_of(encoder.model))
        return ControlVariate(encoder.model, control, own)

    def _encode_update(self, difference: Tensors, own: Tensors, request: TrainRequest) -> tuple[bytes, float]:
        """The difference and the site's own control variate as bytes, and what the difference was scaled by.

        What rounding left over of the difference is kept at the site and added to the next round's. The control variate is no
        difference: it is kept as the server gets it, so that both sides go on from the same one.
        """
        rounded = request.payload != "fp32"
        if rounded:
            difference = self._with_residual(difference, request)
        packed, scale = pack_within([difference, own], self.settings.policy.max_update_norm, request.payload)
        if rounded:
            lost = {name: packed.residual[name] for name in difference}
            write_durably(self._residual_file(request.round), [pack_tensors(lost).data])
            # The last two rounds stay: a coordinator that crashed now asks for this round once more, or, where its newest
            # checkpoint is damaged (it keeps two), for the one before.
            self._residual_file(request.round - 3).unlink(missing_ok=True)
        if own:
            shapes = {name: tuple(array.shape) for name, array in {**difference, **own}.items()}
            with PayloadReader(packed.data, shapes, request.payload) as reader:
                received = {name: reader.read(beside(CONTROL, name)) for name in difference}
            self._controls(request).keep(request.round, received)
        return packed.data, scale

    def _with_residual(self, difference: Tensors, request: TrainRequest) -> Tensors:
        """The difference with what rounding left over of the round before added to it, in place."""
        previous = self._residual_file(request.round - 1)
        if previous.is_file():
            shapes = {name: tuple(array.shape) for name, array in difference.items()}
            for name, lost in unpack_tensors(previous.read_bytes(), shapes).items():
                difference[name] += lost
        return difference

    def _residual_file(self, round_number: int) -> Path:
        return self.state_folder / f"residual-{round_number:05d}.safetensors"

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


def _augmenter(training: Training) -> RuleAugmenter | None:
    settings = training.augmentation
    if not settings.enabled or settings.probability == 0.0:
        return None
    return RuleAugmenter({**DEFAULT_SHARES, **settings.shares()})


def _noiser(training: Training) -> RuleAugmenter | None:
    """What makes the noised copies of `[training.consistency]`."""
    return RuleAugmenter(NOISE_SHARES) if training.consistency.weight else None
