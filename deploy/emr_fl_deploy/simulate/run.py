"""One simulated federation from settings to results: grid, rounds, attack, baselines, model folder, report."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, RecordDict

from emr_fl_deploy.simulate import baselines as beside
from emr_fl_deploy.simulate.console import RunConsole
from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.evaluation.evaluator import Evaluator, transfer_set
from emr_fl_server.evaluation.sets import HeldOutSet, carve_validation
from emr_fl_server.federation import Federation, as_json
from emr_fl_server.report import model_card, write_report
from emr_fl_server.report.reading import RESULTS, read_results
from emr_fl_server.results import build_results
from emr_fl_shared.config import Settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import DataError, FederationError, SettingsError
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.memory import peak_rss_mb, release_free_memory
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.precision import choose_device, choose_precision
from emr_fl_shared.model.storage import CARD_FILE, save_model
from emr_fl_shared.model.tensors import load_tensors
from emr_fl_shared.preparation import Prepared, label_counts, prepare
from emr_fl_shared.text.noise import make_noisy

PLAIN = "federated_plain"


@dataclass(frozen=True)
class Machine:
    """What of this machine the run may use: the engine, and per site GPUs (fractions allowed) and CPU threads."""

    engine: str = "local"
    gpus: float = 0.0
    cpus: int = 1

    @property
    def parallel(self) -> int:
        """How many sites compute at a time."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        by_cpu = max(1, cores // self.cpus)
        if self.gpus > 0:
            by_gpu = max(1, int(torch.cuda.device_count() / self.gpus))
            return min(by_cpu, by_gpu)
        return by_cpu


@dataclass
class HeldOut:
    """The server's held-out sets for one label set, read and made once."""

    settings: Settings
    seconds: float = 0.0
    _made: dict[str, tuple[HeldOutSet, dict[str, HeldOutSet]]] = field(default_factory=dict, repr=False)

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

    def _make(self, taxonomy: Taxonomy) -> tuple[HeldOutSet, dict[str, HeldOutSet]]:
        paths, evaluation = self.settings.evaluation.sets, self.settings.evaluation
        if not paths.standard:
            raise SettingsError(
                tr("there is no held-out set to score", "缺少留出的标准测试集"),
                where="evaluation.sets.standard",
                do=tr(
                    'add [evaluation.sets] standard = "FILE"', '请添加 [evaluation.sets] standard = "文件"'
                ),
            )
        standard = self._read("standard", paths.standard, taxonomy)
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
        if paths.noisy:
            sets["noisy"] = self._read("noisy", paths.noisy, taxonomy)
        else:
            noisy = make_noisy(standard.texts, rate=evaluation.noisy.rate, seed=evaluation.noisy.seed)
            sets["noisy"] = HeldOutSet("noisy", noisy, standard.y, standard.patients)
        if paths.adversarial:
            sets["adversarial"] = self._read("adversarial", paths.adversarial, taxonomy)
        elif evaluation.adversarial.texts > 0:
            sets["adversarial"] = transfer_set(standard, validation, evaluation.adversarial)
        if paths.cross_site:
            sets["cross_site"] = self._read("cross_site", paths.cross_site, taxonomy)
        return validation, sets

    def _read(self, name: str, path: str, taxonomy: Taxonomy) -> HeldOutSet:
        key = hashlib.sha256(f"held-out|{self.settings.seed}".encode()).digest()
        prepared: Prepared = prepare(Path(path), self.settings.evaluation.columns, taxonomy, key=key)
        return HeldOutSet(name, prepared.texts, prepared.labels, prepared.patients)


@dataclass
class Simulation:
    """A simulated federation in `folder` (the run folder), with resolved `settings`."""

    settings: Settings
    folder: Path
    machine: Machine
    console: RunConsole
    sample_data: bool = False

    def run(self, *, with_baselines: bool) -> dict[str, Any]:
        """Run (or continue) everything and write the run folder; returns the results."""
        began = time.monotonic()
        held_out = HeldOut(self.settings)
        main = self._federation(self.settings, self.folder, held_out)
        with self._grid() as grid:
            outcome = self._rounds(main, grid, tr("federation", "联邦"))
            results = self._finish(main, outcome, held_out, began)
            self._keep_baselines(results)
            self._write(main, outcome, results)
            at = time.monotonic()
            if with_baselines:
                self._plain_baseline(results, held_out, grid)
        # the sites' processes are gone by now, so that their memory and the baselines' do not add up
        if with_baselines:
            release_free_memory()
            self._tfidf_baselines(main, results, held_out)
            results["cost"]["baselines_s"] = time.monotonic() - at
            write_durably(self.folder / "model" / CARD_FILE, [model_card(results).encode()])
            self._write_results(results)
        return results

    def _federation(self, settings: Settings, folder: Path, held_out: HeldOut) -> Federation:
        def make_evaluator(taxonomy: Taxonomy) -> Evaluator:
            validation, sets = held_out.sets(taxonomy)
            encoder = build_model(
                settings.model.name,
                taxonomy.names,
                max_length=settings.model.max_length,
                seed=settings.seed,
            )
            device = choose_device(settings.training.device)
            encoder.model.to(device)
            return Evaluator(
                encoder,
                validation,
                sets,
                threshold=settings.evaluation.threshold,
                batch_size=settings.evaluation.batch_size,
                precision=choose_precision("auto", device, encoder.parameters),
            )

        return Federation(settings, folder, make_evaluator, held_out.labels, run=folder.name)

    @contextmanager
    def _grid(self) -> Iterator[InProcessGrid | None]:
        if self.machine.engine != "local":
            yield None
            return
        environment = {} if self.machine.gpus > 0 else {"CUDA_VISIBLE_DEVICES": ""}
        with InProcessGrid(
            factories(self.settings, self.folder),
            parallel=self.machine.parallel,
            threads=self.machine.cpus,
            environment=environment,
            on_progress=self.console.site_progress,
        ) as grid:
            yield grid

    def _rounds(self, federation: Federation, grid: InProcessGrid | None, title: str) -> Outcome:
        outcomes: list[Outcome] = []
        app = server_app(federation, self.console.observer(title), outcomes.append)
        if grid is None:
            from emr_fl_deploy.simulate.ray_engine import run_with_ray

            run_with_ray(app, federation.settings, self.folder, self.machine.gpus, self.machine.cpus)
        else:
            context = Context(grid.run.run_id, 0, {}, RecordDict(), {})
            app(grid, context)
        if not outcomes:
            raise FederationError(tr("the federation ended without a result", "联邦未得到结果即结束"))
        return outcomes[0]

    def _finish(
        self,
        federation: Federation,
        outcome: Outcome,
        held_out: HeldOut,
        began: float,
    ) -> dict[str, Any]:
        assert federation.evaluator is not None
        at = time.monotonic()
        adversarial = self._attack(federation, outcome)
        results = build_results(
            federation,
            outcome,
            adversarial,
            cost={"wall_s": 0.0, "server_peak_rss_mb": peak_rss_mb()},
            engine=self.machine.engine,
            sample_data=self.sample_data,
        )
        cost = results["cost"]
        # scoring outside the rounds: the sets made, each site's own scores, the attack, the scores per label
        cost["evaluate_s"] += held_out.seconds + outcome.site_scores_s + time.monotonic() - at
        # what earlier processes of a resumed run spent on the rounds that they completed
        earlier = outcome.last.history[: outcome.last.resumed_at]
        parts = ("train_wall_s", "aggregate_s", "evaluate_s")
        before = sum(entry["cost"][part] for entry in earlier for part in parts)
        cost["wall_s"] = before + time.monotonic() - began
        cost["sites_peak_rss_mb"] = max(
            (site["peak_rss_mb"] for site in results["sites"].values()), default=0.0
        )
        return results

    def _keep_baselines(self, results: dict[str, Any]) -> None:
        """Take over the baselines of a run that was finished before: with the same settings they would come out the same."""
        if not (self.folder / RESULTS).is_file():
            return
        earlier = read_results(self.folder)
        results["baselines"] = earlier.get("baselines", {})
        if "baselines_s" in earlier.get("cost", {}):
            results["cost"]["baselines_s"] = earlier["cost"]["baselines_s"]
        for name, site in earlier.get("sites", {}).items():
            if "tfidf_local" in site and name in results["sites"]:
                results["sites"][name]["tfidf_local"] = site["tfidf_local"]

    def _plain_baseline(self, results: dict[str, Any], held_out: HeldOut, grid: InProcessGrid | None) -> None:
        """The same federation without augmentation and adversarial training."""
        settings = self.settings.plain()
        if settings == self.settings:
            return
        self.console.say(
            "baseline: the same federation without augmentation and adversarial training …",
            "基线：不做数据增强与对抗训练的同一联邦 …",
        )
        plain = self._federation(settings, self.folder / "baselines" / PLAIN, held_out)
        outcome = self._rounds(plain, grid, tr("plain federation", "普通联邦"))
        scores = build_results(
            plain,
            outcome,
            self._attack(plain, outcome),
            cost={},
            engine=self.machine.engine,
            sample_data=self.sample_data,
        )
        results["baselines"][PLAIN] = {
            **scores["sets"],
            **{key: scores[key] for key in ("history", "cost", "best_round")},
        }

    def _tfidf_baselines(self, main: Federation, results: dict[str, Any], held_out: HeldOut) -> None:
        """TF-IDF with balanced logistic regression, pooled and per site."""
        assert main.taxonomy is not None
        validation, sets = held_out.sets(main.taxonomy)
        scored = {name: held for name, held in sets.items() if name != "adversarial"}
        self.console.say(
            "baseline: TF-IDF with balanced logistic regression, pooled and per site …",
            "基线：TF-IDF + 类别平衡逻辑回归，汇总与各机构 …",
        )
        tfidf = beside.run_tfidf(
            self.settings, main.taxonomy, self.folder, validation, scored, parallel=self.machine.parallel
        )
        local = {name: scores for name, scores in tfidf.items() if name != "pooled"}
        results["baselines"][beside.POOLED] = tfidf["pooled"]
        results["baselines"][beside.LOCAL] = beside.mean_scores(local)
        for name, scores in local.items():
            results["sites"].setdefault(name, {})["tfidf_local"] = scores

    def _attack(self, federation: Federation, outcome: Outcome) -> dict[str, Any] | None:
        """Scores of the best round's model under attack; `None` where that is switched off."""
        assert federation.evaluator is not None
        settings = self.settings.evaluation.adversarial
        if settings.texts == 0:
            return None
        self.console.say("attacking the final model …", "正在攻击最终模型 …")
        return federation.evaluator.attack_final(outcome.best.tensors, outcome.best.decision, settings)

    def _write(self, federation: Federation, outcome: Outcome, results: Mapping[str, Any]) -> None:
        """The model folder, then `results.json`, then the page."""
        assert federation.evaluator is not None and federation.taxonomy is not None
        encoder = federation.evaluator.encoder
        load_tensors(encoder.model, outcome.best.tensors)
        save_model(
            self.folder / "model", encoder, federation.taxonomy, outcome.best.decision, model_card(results)
        )
        self._write_results(results)

    def _write_results(self, results: Mapping[str, Any]) -> None:
        """`results.json` and the page made from it."""
        write_durably(self.folder / RESULTS, [as_json(results).encode()])
        write_report(self.folder)
