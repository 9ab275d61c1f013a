"""`emr-fl simulate` under differential privacy: what it spent stands everywhere, and a kill in the middle spends, never saves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {**os.environ, "EMR_FL_LANG": "en", "OMP_NUM_THREADS": "1"}
SETTINGS = {
    "training.balance": "0.0",
    "training.mask_absent_labels": "false",
    "training.adversarial.top_loss": "1.0",
    "privacy.dp.enabled": "true",
    "privacy.dp.target_epsilon": "3.0",
    "privacy.dp.delta": "1e-3",
    "evaluation.adversarial.texts": "0",
}
ROUNDS = 3
SIMULATE = [
    *("simulate", "--sites", "2", "--records", "200", "--rounds", str(ROUNDS), "--seed", "3"),
    *("--no-baselines", "--out", "run"),
    *(part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")),
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "emr_fl_deploy.cli", *arguments]


def spent(site: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((site / "privacy.ledger.json").read_text())["ledger"]["spent"]
    except FileNotFoundError:
        return []


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed while a site trained its second round, then continued."""
    where = tmp_path_factory.mktemp("private")
    sites = where / "run" / "sites"
    with (where / "log").open("w") as log:
        process = subprocess.Popen(
            command(*SIMULATE), cwd=where, env=ENVIRONMENT, stderr=log, start_new_session=True
        )
        for _ in range(4000):
            if process.poll() is not None or len(spent(sites / "hospital-a")) == 2:
                break
            time.sleep(0.1)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    before = {site.name: spent(site) for site in sites.iterdir()}
    (where / "before.json").write_text(json.dumps(before))
    done = subprocess.run(
        command("simulate", "--resume", "--out", "run"),
        cwd=where,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return where


def test_results_page_and_card_say_what_was_spent(where: Path) -> None:
    run = where / "run"
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    privacy = results["privacy"]
    assert 0.0 < privacy["epsilon"] <= 3.0
    assert (privacy["delta"], privacy["unit"], privacy["accountant"]) == (1e-3, "record", "rdp")
    sites = results["sites"]
    assert privacy["epsilon"] == max(site["epsilon"] for site in sites.values())
    shown = f"{privacy['epsilon']:g}"
    page, card = ((run / name).read_text(encoding="utf-8") for name in ("report.html", "model/MODEL_CARD.md"))
    assert f">{shown}</data>" in page and "one record" in page and "RDP" in page
    assert f"ε = {shown}, δ = 0.001, unit one record, accountant RDP" in card
    assert f"ε = {shown}, δ = 0.001，单位：一条记录" in card


def test_only_what_the_budget_counts_has_left(where: Path) -> None:
    results = json.loads((where / "run" / "results.json").read_text(encoding="utf-8"))
    assert all(entry["loss"] is None for entry in results["history"])
    assert all(site["macro_f1"] is None for site in results["sites"].values())
    for receipts in (where / "run" / "audit" / "sites").glob("*.jsonl"):
        for line in receipts.read_text().splitlines():
            receipt = json.loads(line)
            if receipt["kind"] == "trained":
                assert {"loss", "received", "label_counts", "effective_labels"}.isdisjoint(receipt["fields"])
                assert {"epsilon", "delta", "unit"} <= set(receipt["fields"])


def test_a_kill_and_a_resume_never_spend_less_than_what_was_released(where: Path) -> None:
    from emr_fl_shared.privacy import Spent, epsilon_of

    results = json.loads((where / "run" / "results.json").read_text(encoding="utf-8"))
    before = json.loads((where / "before.json").read_text())
    for name, site in results["sites"].items():
        entries = spent(where / "run" / "sites" / name)
        assert entries[: len(before[name])] == before[name], "what was spent before the kill is still there"
        history = [Spent(e["noise_multiplier"], e["sample_rate"], e["steps"]) for e in entries]
        assert len(entries) >= site["rounds"]
        assert site["epsilon"] <= epsilon_of(history, 1e-3, "rdp") <= 3.0
    # hospital-a was killed in its second round, and a budget for three rounds has no fourth
    assert len(spent(where / "run" / "sites" / "hospital-a")) == ROUNDS
    assert results["rounds"] in (ROUNDS - 1, ROUNDS)
