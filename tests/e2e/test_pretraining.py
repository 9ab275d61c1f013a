"""Pretraining in a whole federation on this machine: what classification starts from, a crash in it, and a site that keeps it in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories, make_keys
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.checkpoints import checkpoint_rounds, latest_checkpoint
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.pretraining import Pretraining
from emr_fl_shared.config import Settings, load_settings
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.model.masked_lm import build_masked_lm
from emr_fl_shared.model.tensors import load_tensors

SITES = ("north", "south")


class Killed(BaseException):
    """As if the coordinator had been killed here."""


class Watching:
    """An observer that notes the rounds; dies when the `dies_at`-th round of all has its updates and nothing of it is stored."""

    def __init__(self, dies_at: int = 0) -> None:
        self._dies_at = dies_at
        self.rounds: list[dict[str, Any]] = []
        self._seen = 0

    def aggregating(self, _: int) -> None:
        self._seen += 1
        if self._seen == self._dies_at:
            raise Killed

    def round_ended(self, entry: dict[str, Any]) -> None:
        self.rounds.append(entry)

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def settings(hand_written: Path, *, policy: dict[str, Any] | None = None, **sections: Any) -> Settings:
    overrides = {
        "federation": {"rounds": 2, "patience": 0},
        "model": {"name": "tiny", "max_length": 32},
        "pretraining": {"rounds": 2},
        "evaluation": {"adversarial": {"texts": 0}},
        "sites": {
            name: {"policy": {"share_language_model": True} if policy is None else policy} for name in SITES
        },
        **sections,
        "training": {"adversarial": {"method": "none"}, **sections.get("training", {})},
    }
    return (
        load_settings(hand_written / "federation.toml", overrides=overrides)
        .with_paths_from(hand_written)
        .resolved()
    )


def run(given: Settings, folder: Path, watching: Watching | None = None) -> Outcome:
    """The federation in `folder` from where it stands: real sites in processes of their own, real messages."""
    make_keys(given.sites, folder)
    outcomes: list[Outcome] = []
    with InProcessGrid(factories(given, folder), parallel=2, threads=1) as grid:
        federation = make_federation(given, folder, HeldOutSets(given))
        app = server_app(federation, watching or Watching(), outcomes.append)
        app(grid, Context(grid.run.run_id, 0, {}, RecordDict(), {}))
    return outcomes[0]


def test_pretraining_with_crashes_gives_the_same_bits(hand_written: Path, tmp_path: Path) -> None:
    """Killed in the first and last round of pretraining and in the first of classification, and rounded updates carried over."""
    given = settings(hand_written, aggregation={"payload": "int8"}, training={"augmentation": {"mlm": 1.0}})
    watching = Watching()
    whole = run(given, tmp_path / "whole", watching)
    assert [entry["round"] for entry in watching.rounds] == [1, 2, 1, 2]
    assert [sorted(entry["sites"]) for entry in watching.rounds] == [list(SITES)] * 4
    first, last = (entry["validation"] for entry in watching.rounds[:2])
    assert last["masked_loss"] < first["masked_loss"]
    assert 0.0 <= first["masked_accuracy"] <= last["masked_accuracy"] <= 1.0
    killed = tmp_path / "killed"
    for dies_at in (1, 2, 2):
        with pytest.raises(Killed):
            run(given, killed, Watching(dies_at))
    again = run(given, killed)
    assert checkpoint_rounds(killed / "pretraining" / "checkpoints") == [1, 2]
    for name, tensor in whole.last.tensors.items():
        assert tensor.tobytes() == again.last.tensors[name].tobytes(), name
    # every site has the model that filled in its words, sealed; what left says what it was for
    for site in SITES:
        kept = (killed / "sites" / site / "pretraining" / "masked-lm.sealed").read_bytes()
        assert kept.startswith(b"emr-fl sealed 1\n")
        receipts = (killed / "audit" / "sites" / f"{site}.jsonl").read_text().splitlines()
        objectives = [json.loads(line)["objective"] for line in receipts if "trained" in line]
        assert set(objectives) == {"mlm", "classify"}
        assert objectives.index("classify") > max(
            at for at, objective in enumerate(objectives) if objective == "mlm"
        )


def test_classification_starts_from_the_pretrained_encoder(hand_written: Path, tmp_path: Path) -> None:
    given = settings(hand_written, federation={"rounds": 1, "patience": 0}, pretraining={"rounds": 1})
    run(given, tmp_path)
    pretrained = latest_checkpoint(tmp_path / "pretraining" / "checkpoints")
    assert pretrained is not None
    masked = build_masked_lm("tiny", max_length=32)
    load_tensors(masked.model, pretrained.tensors)
    held_out = HeldOutSets(given)
    federation = make_federation(given, tmp_path / "other", held_out)
    federation.agree({})
    assert federation.evaluator is not None
    fresh = federation.first()
    warm_up = Pretraining.of(federation)
    assert warm_up.rounds == 1 and warm_up.label_rows() == ()
    # the run's own first round went down to the sites with these weights: the first checkpoint is near them, not near fresh ones
    done = latest_checkpoint(tmp_path / "checkpoints")
    assert done is not None
    name = next(name for name in done.tensors if "tok_embeddings" in name)
    embeddings = masked.model.get_input_embeddings().weight.detach().numpy()
    moved = np.abs(embeddings - fresh[name]).max(axis=1)
    seen = moved > 1e-3
    assert seen.any()
    near, far = (
        np.linalg.norm(done.tensors[name][seen] - start[seen]) for start in (embeddings, fresh[name])
    )
    assert near < 0.7 * far
    untouched = ~(np.abs(done.tensors[name] - embeddings).max(axis=1) > 1e-6)
    assert not torch.equal(torch.from_numpy(fresh[name]), torch.from_numpy(embeddings))
    assert untouched.any()


def test_a_site_that_keeps_its_language_model_in_trains_nothing(hand_written: Path, tmp_path: Path) -> None:
    given = settings(hand_written, policy={})
    with pytest.raises(PolicyError, match="too few updates"):
        run(given, tmp_path)
    audit = (tmp_path / "pretraining" / "audit" / "server.jsonl").read_text()
    assert audit.count("policy.share_language_model") == 2
    assert not (tmp_path / "sites" / "north" / "pretraining").exists()


def test_without_pretraining_nothing_of_it_is_there(hand_written: Path, tmp_path: Path) -> None:
    given = settings(
        hand_written, policy={}, pretraining={"rounds": 0}, federation={"rounds": 1, "patience": 0}
    )
    watching = Watching()
    run(given, tmp_path, watching)
    assert [set(entry["validation"]) & {"masked_loss"} for entry in watching.rounds] == [set()]
    assert not (tmp_path / "pretraining").exists()
