"""The server's own files as held-out sets: read once, in the steps that a site's records pass too."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from emr_fl_server.evaluation.evaluator import transfer_set
from emr_fl_server.evaluation.fairness import GroupsSeen
from emr_fl_server.evaluation.sets import HeldOutSet, as_read, carve_validation
from emr_fl_shared.config import Settings
from emr_fl_shared.errors import DataError, SettingsError
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.preparation import Prepared, label_counts, prepare
from emr_fl_shared.text.noise import make_noisy


@dataclass
class HeldOutSets:
    """The server's held-out sets for one label set, read and made once."""

    settings: Settings
    seconds: float = 0.0
    _made: dict[str, tuple[HeldOutSet, dict[str, HeldOutSet]]] = field(default_factory=dict, repr=False)
    _typed: dict[str, HeldOutSet] = field(default_factory=dict, repr=False)

    def labels(self) -> list[str]:
        """The label values in the server's own files (for `taxonomy = "column"`)."""
        sets = self.settings.evaluation.sets
        names: set[str] = set()
        for path in (sets.standard, sets.validation):
            if path:
                names |= set(label_counts(Path(path), self.settings.evaluation.columns))
        return sorted(names)

    def sets(self, taxonomy: Taxonomy) -> tuple[HeldOutSet, dict[str, HeldOutSet]]:
        """The validation set and the scored sets by name."""
        if taxonomy.checksum not in self._made:
            began = time.monotonic()
            self._made[taxonomy.checksum] = self._make(taxonomy)
            self.seconds += time.monotonic() - began
        return self._made[taxonomy.checksum]

    def standard_as_typed(self, taxonomy: Taxonomy) -> HeldOutSet:
        """The scored standard set before any input standardiser, for noise of other kinds."""
        self.sets(taxonomy)
        return self._typed[taxonomy.checksum]

    def _make(self, taxonomy: Taxonomy) -> tuple[HeldOutSet, dict[str, HeldOutSet]]:
        standardised = self.settings.model.standardise
        paths, evaluation = self.settings.evaluation.sets, self.settings.evaluation
        standard = self._read("standard", standard_path(self.settings), taxonomy)
        if standard.y.any(axis=0).sum() < 2:
            raise DataError(
                tr(
                    "the standard set has one class only: nothing to tell apart",
                    "标准集只有一个类别，无从区分",
                ),
                where="evaluation.sets.standard",
                got=str(int(standard.y.any(axis=0).sum())),
                expected=">= 2",
            )
        if paths.validation:
            validation = self._read("validation", paths.validation, taxonomy)
        else:
            validation, standard = carve_validation(standard, seed=self.settings.seed)
        sets = {"standard": standard}
        self._typed[taxonomy.checksum] = standard
        if paths.noisy:
            sets["noisy"] = self._read("noisy", paths.noisy, taxonomy)
        else:
            noisy = make_noisy(standard.texts, rate=evaluation.noisy.rate, seed=evaluation.noisy.seed)
            sets["noisy"] = replace(standard, name="noisy", texts=noisy)
        if paths.adversarial:
            sets["adversarial"] = self._read("adversarial", paths.adversarial, taxonomy)
        elif evaluation.adversarial.texts > 0:
            sets["adversarial"] = transfer_set(
                standard, validation, evaluation.adversarial, standardised=standardised
            )
        if paths.cross_site:
            sets["cross_site"] = self._read("cross_site", paths.cross_site, taxonomy)
        # Noise and attacks work on what was typed; the model reads what the standardiser makes of it.
        return as_read(validation, standardised=standardised), {
            name: as_read(held_out, standardised=standardised) for name, held_out in sets.items()
        }

    def _read(self, name: str, path: str, taxonomy: Taxonomy) -> HeldOutSet:
        key = hashlib.sha256(f"held-out|{self.settings.seed}".encode()).digest()
        seen = GroupsSeen()
        prepared: Prepared = prepare(
            Path(path), self.settings.evaluation.columns, taxonomy, key=key, see=seen.see
        )
        return HeldOutSet(name, prepared.texts, prepared.labels, prepared.patients, seen.groups())


def standard_path(settings: Settings) -> str:
    """The file of the standard set, which there must be. Raises `SettingsError`."""
    path = settings.evaluation.sets.standard
    if not path:
        raise SettingsError(
            tr("there is no held-out set to score", "缺少留出的标准测试集"),
            where="evaluation.sets.standard",
            do=tr('add [evaluation.sets] standard = "FILE"', '请添加 [evaluation.sets] standard = "文件"'),
        )
    return path
