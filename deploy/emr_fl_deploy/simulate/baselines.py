"""What stands beside a simulated federation: TF-IDF with balanced logistic regression, on pooled text and per site.

Pooling is possible here because all sites lie on one machine; no hospital may have it. Each job reads the sites' exports
itself, through the same steps and with the same split as the site, and runs in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.app import progress_nowhere
from emr_fl_deploy.simulate.grid import end_with_parent, fork_server
from emr_fl_deploy.simulate.preflight import agreed_taxonomy
from emr_fl_deploy.simulate.sites import forget_records, make_keys, make_site
from emr_fl_server.coordinator import is_sample
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_server.federation import as_json
from emr_fl_server.report.reading import RESULTS
from emr_fl_server.results import SCHEMA
from emr_fl_shared.config import Settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.metrics import relative_drop, score_set
from emr_fl_shared.model.baselines import TfidfBaseline

POOLED = "tfidf_balanced_pooled"
LOCAL = "tfidf_balanced_local"
TFIDF = "tfidf-lr"
"""The model's name in the results of a run of TF-IDF alone."""


@dataclass(frozen=True)
class Job:
    """One TF-IDF model: trained on the training records of `sites`, tuned on `validation`, scored on `sets`."""

    sites: tuple[str, ...]
    settings: Settings
    taxonomy: str
    run: Path
    validation: HeldOutSet = field(repr=False)
    sets: Mapping[str, HeldOutSet] = field(repr=False)
    balanced: bool = True


@dataclass(frozen=True)
class Scored:
    """What a model reached, and what it decided (bool [n, K]), by set."""

    scores: dict[str, Any]
    decided: dict[str, NDArray[np.bool_]] = field(repr=False)


def run_tfidf(
    settings: Settings,
    sites: Collection[str],
    taxonomy: Taxonomy,
    run: Path,
    validation: HeldOutSet,
    sets: Mapping[str, HeldOutSet],
    *,
    parallel: int,
) -> dict[str, Scored]:
    """`pooled`, and under each site's name what it reaches alone.

    `sites`: those whose training records count; one without a usable record ends it all with `DataError`.
    """
    names = tuple(sorted(sites))
    groups: dict[str, tuple[str, ...]] = {"pooled": names, **{name: (name,) for name in names}}
    jobs = {
        key: Job(group, settings, taxonomy.to_json(), run, validation, dict(sets))
        for key, group in groups.items()
    }
    return run_jobs(jobs, parallel=parallel)


def run_jobs(jobs: Mapping[str, Job], *, parallel: int) -> dict[str, Scored]:
    """What each job reached, `parallel` jobs at a time, each in a process of its own."""
    with ProcessPoolExecutor(
        max_workers=max(1, parallel), mp_context=fork_server(), initializer=end_with_parent
    ) as pool:
        futures = {key: pool.submit(train_and_score, job) for key, job in jobs.items()}
        try:
            return {key: future.result() for key, future in futures.items()}
        except BaseException:  # Ctrl-C, or a job that failed: the others are not waited for
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
            raise


def run_pooled(settings: Settings, run: Path, *, balanced: bool) -> dict[str, Any]:
    """TF-IDF on the pooled text of all sites of `settings`, and nothing beside it; writes `results.json` into `run` and returns it."""
    began = time.monotonic()
    held_out = HeldOutSets(settings)
    taxonomy = agreed_taxonomy(settings)
    validation, sets = held_out.sets(taxonomy)
    make_keys(settings.sites, run)
    scored = {name: held for name, held in sets.items() if name != "adversarial"}
    names = tuple(sorted(settings.sites))
    job = Job(names, settings, taxonomy.to_json(), run, validation, scored, balanced)
    at = time.monotonic()
    scores = run_jobs({POOLED: job}, parallel=1)[POOLED].scores
    ended = time.monotonic()
    standard = scores["standard"]["macro_f1"]
    for name, values in scores.items():
        if name != "standard":
            values["drop"] = relative_drop(standard, values["macro_f1"])
    results = {
        "schema": SCHEMA,
        "name": settings.federation.name,
        "seed": settings.seed,
        "model": TFIDF,
        "balanced": balanced,
        "labels": len(taxonomy),
        "taxonomy": settings.labels.taxonomy,
        "sample_data": is_sample(settings),
        "sets": scores,
        "cost": {"train_s": ended - at, "wall_s": ended - began},
    }
    forget_records(settings.sites, run)
    write_durably(run / RESULTS, [as_json(results).encode()])
    return results


def train_and_score(job: Job) -> Scored:
    """Fit one model and score it on every set."""
    taxonomy = Taxonomy.from_json(job.taxonomy)
    texts: list[str] = []
    labels = []
    for name in job.sites:
        site, _ = make_site(name, job.settings.sites[name], job.run, job.settings.seed, progress_nowhere)
        data = site.data(
            taxonomy, job.settings.training, job.settings.seed, standardised=job.settings.model.standardise
        )
        texts += data.texts(data.train)
        labels.append(data.labels(data.train))
    model = TfidfBaseline(
        threshold_shrinkage=job.settings.evaluation.threshold_shrinkage, balanced=job.balanced
    )
    model.fit(texts, np.concatenate(labels), (job.validation.texts, job.validation.y))
    probabilities = {name: model.probabilities(held_out.texts) for name, held_out in job.sets.items()}
    return Scored(
        {
            name: score_set(job.sets[name].y, p, model.decision, taxonomy.chapters)
            for name, p in probabilities.items()
        },
        {name: model.decision.decide(p) for name, p in probabilities.items()},
    )


def mean_scores(per_site: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """The mean over sites of every score, set by set."""
    first = next(iter(per_site.values()))
    return {
        name: {
            key: float(np.mean([scores[name][key] for scores in per_site.values()]))
            for key, value in scores_of_first.items()
            if isinstance(value, int | float)
        }
        for name, scores_of_first in first.items()
    }
