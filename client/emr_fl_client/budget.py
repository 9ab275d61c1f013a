"""The privacy ledger: what a site's records have paid for, in all rounds, runs and federations, kept for good.

The budget belongs to the records, so the ledger lies in the site's own folder and no run begins it anew. Spent is what may have been
released: a round is written down before its first step, so that a crash in the middle has spent it, and a finished update that is
sent again (`kept.py`) has not spent twice. How much noise a run's steps get is settled at its first round, from what is left then, and
stays; what would go over the target is refused.

The file holds numbers and the names of runs, nothing of a record. It is JSON that a person can read, with an HMAC under the site's
key, so that nobody without the key can lower what was spent. Who restores an older file with its key can: see docs/privacy.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_fl_client.dataset.sealed import derive_key
from emr_fl_shared.config.settings import DifferentialPrivacy
from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.locks import in_turn
from emr_fl_shared.messages import tr
from emr_fl_shared.privacy import Spent, epsilon_of, noise_for

LEDGER = "privacy.ledger.json"
_LOCK = ".privacy.lock"
_VERSION = 1


@dataclass(frozen=True)
class Round:
    """What is to be spent: `steps` of round `number` of `rounds` in run `run`, each drawing units with probability `sample_rate`."""

    run: str
    number: int
    rounds: int
    sample_rate: float
    steps: int


@dataclass(frozen=True)
class Allowance:
    """What a round may be trained with, already spent: its noise, and ε at `delta` over everything until its end."""

    noise_multiplier: float
    epsilon: float
    delta: float


@dataclass
class _Content:
    unit: str
    plans: dict[str, float] = field(default_factory=dict)
    """What a run agreed on → its σ."""
    spent: list[dict[str, Any]] = field(default_factory=list)

    def history(self) -> list[Spent]:
        return [
            Spent(float(entry["noise_multiplier"]), float(entry["sample_rate"]), int(entry["steps"]))
            for entry in self.spent
        ]


class PrivacyLedger:
    """The ledger in `folder`, authenticated with `key`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / LEDGER
        self._key = derive_key(key, "privacy ledger")

    def exists(self) -> bool:
        """Whether these records ever were under a budget."""
        return self.path.exists()

    def history(self) -> list[Spent]:
        """All that was spent. Raises as `spend` does for a ledger that can't be read."""
        content = self._read()
        return [] if content is None else content.history()

    def spend(self, wish: DifferentialPrivacy, asked: Round) -> Allowance:
        """Write down a round as spent, on disk before this returns, and say what noise it is to be trained with.

        Raises `BudgetSpent` if it does not fit into `wish.target_epsilon`; `PolicyError` for a damaged ledger, one of another
        version, or one of another unit; `StorageError`. The ledger is as it was then.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        with in_turn(self.path.parent / _LOCK):
            content = self._read() or _Content(wish.unit)
            if content.unit != wish.unit:
                raise PolicyError(
                    tr(
                        "this site's budget counts another unit, and the two don't add up",
                        "本机构预算按另一种单位计量，两者无法相加",
                    ),
                    where="privacy.dp.unit",
                    got=wish.unit,
                    expected=content.unit,
                )
            plan = _plan(wish, asked)
            before = content.history()
            noise = content.plans.get(plan)
            if noise is None:
                left = Spent(0.0, asked.sample_rate, asked.steps * (asked.rounds - asked.number + 1))
                noise = noise_for(wish.target_epsilon, wish.delta, left, wish.accountant, before)
            if noise is None:
                raise _spent(epsilon_of(before, wish.delta, wish.accountant), wish)
            after = [*before, Spent(noise, asked.sample_rate, asked.steps)]
            epsilon = epsilon_of(after, wish.delta, wish.accountant)
            if not epsilon <= wish.target_epsilon:
                raise _spent(epsilon, wish)
            content.plans[plan] = noise
            content.spent.append(
                {
                    "run": asked.run,
                    "round": asked.number,
                    "noise_multiplier": noise,
                    "sample_rate": asked.sample_rate,
                    "steps": asked.steps,
                    "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                }
            )
            self._write(content)
        return Allowance(noise, epsilon, wish.delta)

    def _read(self) -> _Content | None:
        try:
            whole = json.loads(self.path.read_bytes())
            found, code = whole["ledger"], whole["hmac"]
            authentic = hmac.compare_digest(str(code), self._code(found))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, self.path) from error
        except (ValueError, KeyError, TypeError):
            authentic = False
        if not authentic:
            raise PolicyError(
                tr(
                    "the privacy ledger is damaged, or was made with another key",
                    "隐私账本已损坏，或由其他密钥生成",
                ),
                where=str(self.path),
                do=tr(
                    "restore it and the site's key from the newest backup; what was spent since then is lost from the count, so spend "
                    "nothing more of these records if that is not known",
                    "请从最新备份恢复账本与本机构密钥；备份之后的消耗不在计数中，若无法确知，请勿再用这些病历训练",
                ),
            )
        if found["version"] != _VERSION:
            raise PolicyError(
                tr("a privacy ledger of another version of emr-fl", "该隐私账本来自其他版本的 emr-fl"),
                where=str(self.path),
                got=str(found["version"]),
                expected=str(_VERSION),
                do=tr("use the version that wrote it", "请使用写入它的版本"),
            )
        return _Content(found["unit"], found["plans"], found["spent"])

    def _write(self, content: _Content) -> None:
        ledger = {
            "version": _VERSION,
            "unit": content.unit,
            "plans": content.plans,
            "spent": content.spent,
        }
        whole = {"ledger": ledger, "hmac": self._code(ledger)}
        write_durably(self.path, [json.dumps(whole, ensure_ascii=False, indent=1).encode()])

    def _code(self, ledger: Any) -> str:
        canonical = json.dumps(ledger, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, canonical, hashlib.sha256).hex()


def _plan(wish: DifferentialPrivacy, asked: Round) -> str:
    """What has to stay the same for a run's noise to stay the same."""
    return json.dumps(
        {
            "run": asked.run,
            "rounds": asked.rounds,
            "sample_rate": asked.sample_rate,
            "steps": asked.steps,
            "target_epsilon": wish.target_epsilon,
            "delta": wish.delta,
            "accountant": wish.accountant,
        },
        sort_keys=True,
    )


def _spent(epsilon: float, wish: DifferentialPrivacy) -> BudgetSpent:
    return BudgetSpent(
        tr("the privacy budget of this site's records is spent", "本机构病历的隐私预算已用完"),
        where="privacy.dp.target_epsilon",
        got=f"ε = {epsilon:.4g} (δ = {wish.delta:g}, {wish.accountant})",
        expected=f"<= {wish.target_epsilon:g}",
        do=tr(
            "end with the model that is there; a larger target spends more of what was promised about these records",
            "请以现有模型结束；提高目标会消耗更多对这些病历作出的保证",
        ),
    )
