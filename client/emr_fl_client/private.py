"""A site's round under differential privacy: refuse what would void it, write it down as spent, train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.budget import Allowance, PrivacyLedger, Round
from emr_fl_client.training.loop import Augment, Progress, TrainingSettings, TrainResult
from emr_fl_client.training.private.round import PrivateSettings, sampling, train_round_privately
from emr_fl_client.training.private.units import patient_units, record_units
from emr_fl_client.training.proximal import Proximal
from emr_fl_shared.config.private import training_conflicts
from emr_fl_shared.config.settings import DifferentialPrivacy, Training
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import Encoder
from emr_fl_shared.preparation import Prepared
from emr_fl_shared.wire import TrainRequest


class Records(Protocol):
    """The site's prepared records, and which of them train."""

    @property
    def prepared(self) -> Prepared: ...
    @property
    def train(self) -> NDArray[np.int64]: ...

    def texts(self, rows: NDArray[np.int64]) -> list[str]: ...
    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]: ...


def spend_and_train(
    request: TrainRequest,
    wish: DifferentialPrivacy,
    data: Records,
    encoder: Encoder,
    settings: TrainingSettings,
    *,
    ledger: PrivacyLedger,
    key: bytes,
    chapters: Sequence[str],
    augment: Augment | None,
    progress_callback: Progress,
) -> tuple[TrainResult, Allowance]:
    """Train `encoder.model` in place for one round. `key`: the site's, chooses which records of a patient count.

    Raises as `PrivacyLedger.spend` does, before anything was trained.
    """
    units = record_units(len(data.train))
    if wish.unit == "patient":
        patients = [data.prepared.patients[row] for row in data.train]
        units = patient_units(patients, wish.records_per_patient, key)
    rate, steps = sampling(len(units), settings)
    # from here on the round is spent, whatever becomes of it
    allowance = ledger.spend(wish, Round(request.run, request.round, request.rounds, rate, steps))
    result = train_round_privately(
        encoder,
        data.texts(data.train),
        data.labels(data.train),
        units,
        settings,
        PrivateSettings(allowance.noise_multiplier, wish.clipping_norm, wish.freeze_embeddings),
        chapters=chapters,
        terms=[Proximal(encoder.model, request.proximal)] if request.proximal else [],
        round_number=request.round,
        rounds=request.rounds,
        augment=augment,
        progress_callback=progress_callback,
    )
    return result, allowance


def check_request(request: TrainRequest, training: Training) -> None:
    """Raises `PolicyError` for a request under differential privacy that asks for what would void it, whatever its server thinks."""
    if conflicts := training_conflicts(training):
        error = conflicts[0].problem()
        raise PolicyError(
            error.message, where=error.where, got=error.got, expected=error.expected, do=error.do
        )
    for name, asked in (
        ("controls", request.controls),
        ("effective_beta", request.effective_beta is not None),
        ("label_counts", request.label_counts is not None),
    ):
        if asked:
            raise PolicyError(
                tr(
                    "under differential privacy nothing leaves a site that its budget does not count",
                    "差分隐私下，未计入预算的内容不得离开机构",
                ),
                where=name,
            )
