"""Experiments small enough for a test, and the results of one, made by code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.experiments.catalogue import Experiment, load_experiment
from emr_fl_deploy.experiments.plan import Plan
from emr_fl_deploy.experiments.results import gather
from emr_fl_server.federation import as_json

SMALL = """
title = { en = "Small & 100 % sure_ly", zh = "小实验" }
question = { en = "Does it run?", zh = "能否运行？" }
reference = "plain"
columns = ["standard.macro_f1", "noisy.drop", "standard.ece"]

[settings]
federation = { rounds = 1, patience = 0 }
model.max_length = 32
training = { augmentation.enabled = false, adversarial.method = "none" }
evaluation.adversarial.texts = 0

[[configuration]]
id = "plain"
name = { en = "plain", zh = "普通" }
note = { en = "a | b", zh = "甲 | 乙" }
paper = { "standard.macro_f1" = [0.685, 0.002] }
settings = { training.balance = 0.0 }

[[configuration]]
id = "broken"
name = { en = "broken", zh = "损坏" }
settings = { model.name = "/no/such/folder" }

[[configuration]]
id = "tfidf"
kind = "tfidf"
balanced = false
name = { en = "TF-IDF", zh = "TF-IDF" }

[[configuration]]
id = "alone"
alone = true
name = { en = "alone", zh = "单独" }

[[configuration]]
id = "bert"
needs = "bert"
name = { en = "BERT", zh = "BERT" }
"""


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """An experiment file with a row of each kind, one of which fails."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def small(small_file: Path) -> Experiment:
    return load_experiment(str(small_file))


def write_run(folder: Path, macro: float, *, seed: int, train: float = 10.0) -> None:
    """The results that a run leaves, as far as a table reads them."""
    folder.mkdir(parents=True)
    sets = {
        "standard": {"n": 60, "macro_f1": macro, "micro_f1": macro + 0.05, "ece": 0.071},
        "noisy": {"n": 60, "macro_f1": macro - 0.03, "drop": 0.03 / macro},
    }
    results = {
        "seed": seed,
        "name": "study",
        "model": "tiny",
        "parameters": 1_073_714,
        "rounds": 3,
        "best_round": 2,
        "labels": 3,
        "sample_data": False,
        "sets": sets,
        "cost": {"train_s": train, "wall_s": 2 * train},
    }
    (folder / "results.json").write_text(as_json(results), encoding="utf-8")


@pytest.fixture
def gathered(small: Experiment, hand_written: Path, tmp_path: Path) -> dict[str, Any]:
    """Results of `small` over three seeds: all of `plain`, two of `tfidf`, one site of `alone`, `broken` failed."""
    out = tmp_path / "out"
    plan = Plan(small, dict(small.settings), str(hand_written))
    cells = plan.cells(out, 3)
    for seed, (plain, tfidf) in enumerate([(0.61234, 0.58), (0.64321, 0.6), (0.6, None)]):
        write_run(out / f"runs/plain/seed-{seed}", plain, seed=seed)
        if tfidf is not None:
            write_run(out / f"runs/tfidf/seed-{seed}", tfidf, seed=seed)
    write_run(out / "runs/alone/north/seed-0", 0.31, seed=0)
    failed = {cell: "it <broke> & 50 % | of it" for cell in cells if cell.configuration == "broken"}
    return gather(plan, out, 3, failed)
