"""The global model on the server's held-out sets: every round, and once more, thoroughly, at the end.

Threshold and temperature come from the validation set alone; the other sets are only ever scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.evaluation.attacks import attack as attack_texts
from emr_fl_server.evaluation.scoring import per_chapter_scores, per_label_scores, score_sets
from emr_fl_server.evaluation.sets import HeldOutSet, as_read
from emr_fl_shared.config.settings import Attack
from emr_fl_shared.metrics import Decision, fit_decision, reliability_bins
from emr_fl_shared.model.baselines import TfidfBaseline
from emr_fl_shared.model.encoder import Encoder, encode, predict_logits
from emr_fl_shared.model.precision import Precision
from emr_fl_shared.model.tensors import load_tensors
from emr_fl_shared.preparation import model_text

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class RoundScores:
    """The scores of one global model. `sets` has a dictionary per held-out set, as in `results.json`."""

    decision: Decision
    validation: dict[str, Any]
    sets: dict[str, dict[str, Any]]
    best_by: str = "macro_f1"
    """The figure of `validation` that tells the best round."""


@dataclass
class Evaluator:
    """Holds the model shell and the tokenised held-out sets.

    `sets` must hold `standard`; `adversarial` in it is the fixed transfer set of the rounds.
    """

    encoder: Encoder
    validation: HeldOutSet
    sets: Mapping[str, HeldOutSet]
    threshold: float | None = None
    threshold_shrinkage: float | None = None
    batch_size: int = 128
    precision: Precision = field(default_factory=Precision)
    chapters: Sequence[str] = ()
    """The chapter of ICD-10 of each label; empty: scores are of labels alone."""
    _token_ids: dict[str, list[list[int]]] = field(default_factory=dict, repr=False)

    def score(self, tensors: Mapping[str, NDArray[np.float32]], *, single_label: bool) -> RoundScores:
        """Score the model with these tensors on all sets."""
        load_tensors(self.encoder.model, tensors)
        validation_logits = self.logits(self.validation)
        decision = fit_decision(
            validation_logits,
            self.validation.y,
            single_label=single_label,
            shrinkage=self.threshold_shrinkage,
        )
        if self.threshold is not None and decision.kind == "threshold":
            decision = Decision("threshold", self.threshold, decision.temperature)
        logits = {name: self.logits(held_out) for name, held_out in self.sets.items()}
        validation = self._scored(
            {"validation": validation_logits}, {"validation": self.validation}, decision
        )
        return RoundScores(decision, validation["validation"], self._scored(logits, self.sets, decision))

    def detail(self, tensors: Mapping[str, NDArray[np.float32]], decision: Decision) -> dict[str, Any]:
        """What the report shows of the final model: scores per label and per chapter and the reliability curve, on
        `standard`."""
        load_tensors(self.encoder.model, tensors)
        standard = self.sets["standard"]
        probabilities = decision.probabilities(self.logits(standard))
        return {
            "per_label": per_label_scores(standard.y, probabilities, decision, self.encoder.labels),
            "per_chapter": per_chapter_scores(standard.y, probabilities, decision, self.chapters)
            if any(self.chapters)
            else [],
            "reliability": reliability_bins(standard.y, probabilities),
        }

    def attack_final(
        self,
        tensors: Mapping[str, NDArray[np.float32]],
        decision: Decision,
        settings: Attack,
    ) -> dict[str, Any] | None:
        """`attack` the model with these tensors."""
        load_tensors(self.encoder.model, tensors)
        return self.attack(decision, settings)

    def attack(self, decision: Decision, settings: Attack) -> dict[str, Any] | None:
        """Attack `settings.texts` texts of `standard` with queries to the model itself; scores on what came out.

        Returns `None` where there is nothing to attack.
        """
        chosen = subset(self.sets["standard"], settings.texts, settings.seed)
        if not chosen.texts:
            return None
        clean_logits = self._of_texts(chosen.texts)
        result = attack_texts(
            chosen.texts,
            chosen.y,
            lambda texts: decision.probabilities(self._of_texts(texts)),
            decision.decide,
            budget=settings.budget,
            seed=settings.seed,
            max_changed=settings.max_changed,
        )
        attacked = HeldOutSet("adversarial", list(result.texts), chosen.y, chosen.patients)
        scores = self._scored(
            {"standard": clean_logits, "adversarial": self._of_texts(list(result.texts))},
            {"standard": chosen, "adversarial": attacked},
            decision,
        )
        return {
            **scores["adversarial"],
            "clean_macro_f1": scores["standard"]["macro_f1"],
            "attacked": result.n,
            "succeeded": result.succeeded,
            "success_rate": result.succeeded / result.n if result.n else 0.0,
            "queries_mean": result.queries / len(chosen.texts),
            "budget": settings.budget,
        }

    def logits(self, held_out: HeldOutSet) -> Logits:
        """Logits float32 [n, K] of the model as it stands; a set's token ids are kept."""
        if held_out.name not in self._token_ids:
            self._token_ids[held_out.name] = self._encode(held_out.texts)
        return self._predict(self._token_ids[held_out.name])

    def _scored(
        self, logits: Mapping[str, Logits], sets: Mapping[str, HeldOutSet], decision: Decision
    ) -> dict[str, dict[str, Any]]:
        return score_sets(logits, sets, decision, chapters=self.chapters)

    def _of_texts(self, texts: Sequence[str]) -> Logits:
        """Logits of texts that somebody has changed: they take the whole way of an input."""
        if self.encoder.standardise:
            texts = [model_text(text, standardised=True)[0] for text in texts]
        return self._predict(self._encode(texts))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encode(self.encoder.tokenizer, texts, self.encoder.max_length)

    def _predict(self, token_ids: list[list[int]]) -> Logits:
        return predict_logits(self.encoder.model, token_ids, self.batch_size, self.precision)


def transfer_set(
    standard: HeldOutSet, validation: HeldOutSet, settings: Attack, *, standardised: bool = False
) -> HeldOutSet:
    """A fixed adversarial set for the rounds: texts of `standard` that fool a TF-IDF model.

    The surrogate is trained on half of the validation set and tuned on the other half, so nothing but the server's own
    data goes into it; the same texts then meet every round's global model. `standardised`: the surrogate reads texts as the model
    does; the result holds them as the attack left them.
    """
    chosen = subset(standard, settings.texts, settings.seed)
    order = np.random.default_rng(settings.seed).permutation(len(validation.texts))
    half = max(1, len(order) // 2)
    fit, tune = order[:half], order[half:] if len(order) > half else order
    validation = as_read(validation, standardised=standardised)
    surrogate = TfidfBaseline()
    surrogate.fit(
        [validation.texts[row] for row in fit],
        validation.y[fit],
        ([validation.texts[row] for row in tune], validation.y[tune]),
    )

    def probabilities(texts: Sequence[str]) -> NDArray[np.float64]:
        if standardised:
            texts = [model_text(text, standardised=True)[0] for text in texts]
        return surrogate.probabilities(texts)

    result = attack_texts(
        chosen.texts,
        chosen.y,
        probabilities,
        lambda probabilities: surrogate.decision.decide(probabilities),
        budget=settings.budget,
        seed=settings.seed,
        max_changed=settings.max_changed,
    )
    return HeldOutSet("adversarial", list(result.texts), chosen.y, chosen.patients)


def subset(held_out: HeldOutSet, size: int, seed: int) -> HeldOutSet:
    """`size` records drawn without replacement, in their original order."""
    if size >= len(held_out.texts):
        return held_out
    rows = np.sort(np.random.default_rng(seed).choice(len(held_out.texts), size, replace=False))
    return held_out.take(rows)
