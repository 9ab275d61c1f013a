"""Rounds of masked language modelling before the first round of classification: the same loop, with another model and question.

Gururangan et al., Don't Stop Pretraining, ACL 2020, §3–4 (task-adaptive: the texts are the task's own), federated. It is a federation
of its own in `pretraining/` of the run folder, with its own checkpoints; where its last round is done, its encoder is what classification
starts from. What is sent, checked, averaged and taken up after a crash goes the same ways; rounds are counted by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from emr_fl_server.checkpoints import latest_checkpoint
from emr_fl_server.evaluation.evaluator import RoundScores
from emr_fl_server.federation import Federation, FederationState, Tensors, evaluated
from emr_fl_server.roster import Roster
from emr_fl_server.rounds import Observer, run_rounds
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.batching import pad_batch
from emr_fl_shared.model.masked_lm import MaskedLM, build_masked_lm, carry_over, masked_logits
from emr_fl_shared.model.masking import IGNORED, Masking, read_words
from emr_fl_shared.model.precision import choose_device
from emr_fl_shared.model.tensors import load_tensors, tensors_of
from emr_fl_shared.wire import Objective, TrainReply, TrainRequest

FOLDER = "pretraining"


def pretrain(roster: Roster, federation: Federation, observer: Observer) -> None:
    """Run the rounds of pretraining that are left and put their encoder into the model that classification starts from.

    Nothing happens where `federation` has begun to classify, or a stop is asked for before the last round is done.
    """
    if latest_checkpoint(federation.folder / "checkpoints") is not None:
        return
    warm_up = Pretraining.of(federation)
    state = run_rounds(roster, warm_up, observer)
    if state.round < warm_up.rounds:
        return
    assert federation.evaluator is not None
    load_tensors(warm_up.masked.model, evaluated(state.tensors, state.kept))
    carry_over(federation.evaluator.encoder.model, warm_up.masked.model)


@dataclass
class MaskedEvaluator:
    """Loss and accuracy of filling in the masked tokens of the server's validation texts; the masks are the same every round."""

    masked: MaskedLM
    texts: Sequence[str] = field(repr=False)
    share: float = 0.15
    seed: int = 0
    batch_size: int = 128

    def score(self, tensors: Mapping[str, NDArray[np.float32]]) -> RoundScores:
        """Scores of the masked language model with these tensors."""
        load_tensors(self.masked.model, tensors)
        tokens, loss, right = 0, 0.0, 0
        for logits, targets in self._batches():
            tokens += len(targets)
            loss += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(dim=1) == targets).sum())
        n = max(1, tokens)
        figures = {"n": tokens, "masked_loss": loss / n, "masked_accuracy": right / n}
        return RoundScores(Decision(), figures, {}, best_by="masked_accuracy")

    @torch.inference_mode()
    def _batches(self) -> Any:
        masked, model = self.masked, self.masked.model
        generator = np.random.default_rng(self.seed)
        masking = Masking(masked.tokenizer, self.share)
        read = [text for text in read_words(masked.tokenizer, self.texts, masked.max_length) if text.words]
        drawn = sorted((masking.draw(text, generator) for text in read), key=lambda pair: len(pair[0]))
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        for first in range(0, len(drawn), self.batch_size):
            part = drawn[first : first + self.batch_size]
            pad, limit = int(masked.tokenizer.pad_token_id), masked.max_length
            ids, mask = pad_batch([ids for ids, _ in part], pad, limit=limit, device=device)
            targets, _ = pad_batch([targets for _, targets in part], IGNORED, limit=limit, device=device)
            there = targets != IGNORED
            yield masked_logits(model, ids, mask, there).float(), targets[there]
        model.train(was_training)


@dataclass
class Pretraining(Federation):
    """The federation that trains the masked language model; made from the one that classifies, whose labels are agreed."""

    objective: ClassVar[Objective] = "mlm"
    masked: MaskedLM = field(kw_only=True)
    masked_evaluator: MaskedEvaluator = field(kw_only=True)

    @classmethod
    def of(cls, federation: Federation) -> Pretraining:
        settings = federation.settings
        masked = build_masked_lm(
            settings.model.name, max_length=settings.model.max_length, seed=settings.seed
        )
        masked.model.to(choose_device(settings.training.device))
        assert federation.evaluator is not None
        return cls(
            settings,
            federation.folder / FOLDER,
            federation.make_evaluator,
            federation.held_out_labels,
            run=federation.run,
            taxonomy=federation.taxonomy,
            site_names=federation.site_names,
            waits=federation.waits,
            presence=federation.presence,
            stop_requested=federation.stop_requested,
            masked=masked,
            masked_evaluator=MaskedEvaluator(
                masked,
                federation.evaluator.validation.texts,
                share=settings.pretraining.mask,
                seed=settings.seed,
                batch_size=settings.evaluation.batch_size,
            ),
        )

    @property
    def rounds(self) -> int:
        return self.settings.pretraining.rounds

    @property
    def patience(self) -> int:
        return 0

    def label_rows(self) -> tuple[str, ...]:
        """None: there are no labels."""
        return ()

    def first(self) -> Tensors:
        return tensors_of(self.masked.model)

    def evaluate(self, tensors: Tensors, replies: Mapping[str, TrainReply]) -> RoundScores:
        return self.masked_evaluator.score(tensors)

    def train_request(self, number: int, state: FederationState) -> TrainRequest:
        """The question of classification, with another objective."""
        request = super().train_request(number, state)
        return request.model_copy(
            update={
                "objective": self.objective,
                "pretraining": self.settings.pretraining.model_dump(mode="json"),
                "label_counts": None,
            }
        )
