"""Which operators a text meets, and the check that nothing was broken."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from emr_fl_client.augment.operator import Operator, shared_guard
from emr_fl_client.augment.registry import operators
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr
from emr_fl_shared.text.edits import Edit, apply_edits
from emr_fl_shared.text.guard import Guard

DEFAULT_SHARES: Mapping[str, float] = {
    "synonyms": 0.20,
    "colloquial": 0.20,
    "character_noise": 0.35,
    "eda": 0.05,
    "fields": 0.08,
    "punctuation": 0.07,
    "placeholders": 0.05,
    "pivot": 0.0,
}
"""How often each operator is drawn. Typing errors come first: they are what the evaluation noise is mostly made of."""

NOISE_SHARES: Mapping[str, float] = {"character_noise": 0.7, "colloquial": 0.3}
"""The operators that make noised copies for `[training.consistency]`: slips of the training side of `confusions`."""


class RuleAugmenter:
    """Applies guarded rule operators to one text at a time.

    `shares` are relative weights of the operators, `None` the defaults, 0 switches one off. `probability` is the share of
    calls that change the text at all. A changed text meets one to three different operators (50 %, 30 %, 20 %), all planned on
    the same reading of it; where two want the same characters the first one drawn wins. The result is read afresh and compared
    with the original; if a fact differs, the operators are tried one after the other and the ones that break it are left out.

    `rejected` counts what was left out, by operator and kind of fact: `"eda: negation"`. `changed` counts changed texts.
    Raises SettingsError for an unknown operator, a negative share, or shares that sum to 0.
    """

    def __init__(
        self,
        shares: Mapping[str, float] | None = None,
        probability: float = 1.0,
        *,
        guard: Guard | None = None,
    ) -> None:
        known = operators()
        shares = DEFAULT_SHARES if shares is None else shares
        where = "training.augmentation"
        for name, share in shares.items():
            if name not in known:
                raise SettingsError(
                    tr("unknown operator", "未知的增强操作"), where=where, got=name, expected=", ".join(known)
                )
            if not share >= 0:
                raise SettingsError(
                    tr("a share can't be negative", "份额不能为负"),
                    where=f"{where}.{name}",
                    got=str(share),
                    expected=">= 0",
                )
        used = {name: share for name, share in shares.items() if share > 0}
        if not used:
            raise SettingsError(
                tr("no operator has a share above 0", "所有增强操作的份额均为 0"),
                where=where,
                expected=", ".join(known),
            )
        if not 0 <= probability <= 1:
            raise SettingsError(
                tr("not a probability", "不是概率值"),
                where=f"{where}.probability",
                got=str(probability),
                expected="0 … 1",
            )
        self._operators: list[Operator] = [known[name] for name in used]
        self._weights = list(used.values())
        self._probability = probability
        self._guard = guard or shared_guard()
        self.rejected: Counter[str] = Counter()
        self.changed = 0

    @property
    def weight(self) -> float:
        """The sum of the operators' shares: what the rules weigh beside operators that need a model."""
        return sum(self._weights)

    def augment(self, text: str, rng: random.Random) -> str:
        """A changed copy of `text` with the same meaning; the same generator state gives the same result."""
        if rng.random() >= self._probability:
            return text
        drawn = self._draw(rng)
        reference = text
        for operator in drawn:
            reference = operator.shorten(reference, rng)
        analysis = self._guard.analyse(reference)
        plans = [operator.plan(analysis, rng) for operator in drawn]
        result = apply_edits(reference, [edit for plan in plans for edit in plan])
        broken = self._broken(reference, result, drawn)
        if broken:
            result = self._one_by_one(reference, drawn, plans)
        self.changed += result != text
        return result

    def _draw(self, rng: random.Random) -> list[Operator]:
        wanted = min(rng.choices((1, 2, 3), weights=(5, 3, 2))[0], len(self._operators))
        drawn: list[Operator] = []
        while len(drawn) < wanted:
            operator = rng.choices(self._operators, weights=self._weights)[0]
            if operator not in drawn:
                drawn.append(operator)
        return drawn

    def _broken(self, reference: str, result: str, drawn: list[Operator]) -> set[str]:
        allowed = frozenset[str]().union(*(operator.may_change for operator in drawn))
        return set(self._guard.violations(reference, result)) - allowed

    def _one_by_one(self, reference: str, drawn: list[Operator], plans: list[list[Edit]]) -> str:
        """The text with the plans of those operators that keep every fact, added in the order drawn."""
        kept: list[Operator] = []
        edits: list[Edit] = []
        result = reference
        for operator, plan in zip(drawn, plans, strict=True):
            candidate = apply_edits(reference, [*edits, *plan])
            broken = self._broken(reference, candidate, [*kept, operator])
            if broken:
                self.rejected.update(f"{operator.name}: {kind}" for kind in sorted(broken))
            else:
                kept.append(operator)
                edits += plan
                result = candidate
        return result
