"""Flower's own simulation engine gives the same model as ours."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_both_engines_end_with_the_same_weights(hand_written: Path, tmp_path: Path) -> None:
    for engine in ("local", "ray"):
        done = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "emr_fl_deploy.cli", "simulate", "--data", str(hand_written)),
                *("--rounds", "2", "--engine", engine, "--no-baselines", "--out", str(tmp_path / engine)),
                *("--set", "evaluation.adversarial.texts=0"),
            ],
            capture_output=True,
            text=True,
            timeout=580,
        )
        assert done.returncode == 0, done.stderr
    weights = [
        (tmp_path / engine / "model" / "model.safetensors").read_bytes() for engine in ("local", "ray")
    ]
    assert weights[0] == weights[1]
