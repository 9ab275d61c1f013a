"""One simulated federation from settings to results: grid, rounds, attack, baselines, model folder, report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, RecordDict

from emr_fl_deploy.run_folder import BASELINES_PENDING
from emr_fl_deploy.simulate import baselines as beside
from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.identities import make_identities, registry_of, trust_of
from emr_fl_deploy.simulate.sites import factories, forget_records, make_keys
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.console import RunConsole
from emr_fl_server.coordinator import (
    attack_final,
    finish,
    make_federation,
    write_card,
    write_outcome,
    write_results,
)
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.federation import Federation
from emr_fl_server.report.reading import RESULTS, read_results
from emr_fl_server.results import build_results
from emr_fl_shared.config import Settings
from emr_fl_shared.deidentify.parallel import PROCESSES
from emr_fl_shared.errors import FederationError
from emr_fl_shared.memory import release_free_memory
from emr_fl_shared.messages import tr

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
        held_out = HeldOutSets(self.settings)
        main = self._federation(self.settings, self.folder, held_out)
        make_keys(self.settings.sites, self.folder)
        with self._grid() as grid:
            outcome = self._rounds(main, grid, tr("federation", "联邦"))
            self._say_attack()
            results = finish(
                main,
                outcome,
                held_out,
                began=began,
                engine=self.machine.engine,
                sample_data=self.sample_data,
            )
            self._keep_baselines(results)
            if with_baselines and "baselines_s" not in results["cost"]:
                results[BASELINES_PENDING] = (
                    True  # a run that is stopped from here on is taken up by --resume
                )
            write_outcome(self.folder, main, outcome, results)
            at = time.monotonic()
            if with_baselines:
                self._plain_baseline(results, held_out, grid)
        # the sites' processes are gone by now, so that their memory and the baselines' do not add up
        if with_baselines:
            release_free_memory()
            self._tfidf_baselines(main, results, held_out)
            results["cost"]["baselines_s"] = time.monotonic() - at
            results.pop(BASELINES_PENDING, None)
            write_card(self.folder, results)
            write_results(self.folder, results)
        forget_records(self.settings.sites, self.folder)
        return results

    def _federation(self, settings: Settings, folder: Path, held_out: HeldOutSets) -> Federation:
        """A federation of this run's sites, with keys for them where their updates are masked."""
        federation = make_federation(settings, folder, held_out)
        if federation.masked:
            make_identities(settings.sites, self.folder)
            federation.trust = trust_of(self.folder)
            federation.signed_registry = partial(registry_of, self.folder)
        return federation

    @contextmanager
    def _grid(self) -> Iterator[InProcessGrid | None]:
        if self.machine.engine != "local":
            yield None
            return
        environment = {PROCESSES: "1"} | ({} if self.machine.gpus > 0 else {"CUDA_VISIBLE_DEVICES": ""})
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

    def _plain_baseline(
        self, results: dict[str, Any], held_out: HeldOutSets, grid: InProcessGrid | None
    ) -> None:
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
        self._say_attack()
        scores = build_results(
            plain,
            outcome,
            attack_final(plain, outcome),
            cost={},
            engine=self.machine.engine,
            sample_data=self.sample_data,
        )
        results["baselines"][PLAIN] = {
            **scores["sets"],
            **{key: scores[key] for key in ("history", "cost", "best_round")},
        }

    def _tfidf_baselines(self, main: Federation, results: dict[str, Any], held_out: HeldOutSets) -> None:
        """TF-IDF with balanced logistic regression, pooled and per site, for the sites that gave the federation an update."""
        assert main.taxonomy is not None
        validation, sets = held_out.sets(main.taxonomy)
        scored = {name: held for name, held in sets.items() if name != "adversarial"}
        self.console.say(
            "baseline: TF-IDF with balanced logistic regression, pooled and per site …",
            "基线：TF-IDF + 类别平衡逻辑回归，汇总与各机构 …",
        )
        tfidf = beside.run_tfidf(
            self.settings,
            results["sites"],
            main.taxonomy,
            self.folder,
            validation,
            scored,
            parallel=self.machine.parallel,
        )
        local = {name: scores for name, scores in tfidf.items() if name != "pooled"}
        results["baselines"][beside.POOLED] = tfidf["pooled"]
        results["baselines"][beside.LOCAL] = beside.mean_scores(local)
        for name, scores in local.items():
            results["sites"][name]["tfidf_local"] = scores

    def _say_attack(self) -> None:
        if self.settings.evaluation.adversarial.texts > 0:
            self.console.say("attacking the final model …", "正在攻击最终模型 …")
