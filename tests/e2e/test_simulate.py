"""`emr-fl simulate` as a user runs it: the command, the run folder, resume, interruption."""

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

from emr_fl_shared.text.noise import KINDS
from planted import planted

QUICK = ["--set", "evaluation.adversarial.texts=20", "--set", "evaluation.adversarial.budget=10"]
ENVIRONMENT = {**os.environ, "EMR_FL_LANG": "en", "OMP_NUM_THREADS": "1"}


def emr_fl(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "emr_fl_deploy.cli", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=400,
        env=ENVIRONMENT,
        cwd=cwd,
    )


def scores(folder: Path) -> dict[str, Any]:
    """The results without what differs from run to run: times, memory, dates."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for key in ("cost", "created"):
        del results[key]
    for site in results["sites"].values():
        for key in ("train_s", "peak_rss_mb"):
            del site[key]
    for entry in [*results["history"], *results["baselines"].get("federated_plain", {}).get("history", [])]:
        del entry["cost"]
    results["baselines"].get("federated_plain", {}).pop("cost", None)
    return results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A small sample federation run once with everything: run folder, what it printed, where it ran."""
    where = tmp_path_factory.mktemp("simulate")
    done = emr_fl(
        "simulate",
        "--sites",
        "3",
        "--records",
        "300",
        "--rounds",
        "2",
        "--seed",
        "3",
        "--out",
        "run",
        *QUICK,
        cwd=where,
    )
    assert done.returncode == 0, done.stderr
    return where / "run", done.stdout, where


def test_the_run_folder_is_complete(finished: tuple[Path, str, Path]) -> None:
    run, printed, _ = finished
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert results["schema"] == 1
    assert results["labels"] == 50
    assert {"standard", "noisy", "adversarial", "cross_site"} <= set(results["sets"])
    for scored in results["sets"].values():
        assert {"n", "macro_f1", "micro_f1", "pr_auc_macro", "ece", "labels_absent"} <= set(scored)
    assert set(results["sites"]) == {"hospital-a", "hospital-b", "hospital-c"}
    assert {"tfidf_balanced_pooled", "tfidf_balanced_local", "federated_plain"} == set(results["baselines"])
    assert all(len(scored["macro_f1_interval"]) == 2 for scored in results["sets"].values())
    assert {point["kind"] for point in results["noise_curve"]["points"]} == set(KINDS)
    assert set(results["fairness"]["sets"]) == {"standard", "cross_site"}
    assert {row["against"] for row in results["comparisons"]} == {"federated_plain", "tfidf_balanced_pooled"}
    for row in results["comparisons"]:
        theirs = results["baselines"][row["against"]][row["set"]][row["measure"]]
        ours = results["sets"][row["set"]][row["measure"]]
        assert row["difference"] == pytest.approx(ours - theirs, abs=1e-9)
    assert not (run / "errors.html").exists(), "texts only where they are asked for"
    assert results["privacy"] == {"epsilon": None, "delta": None}
    assert results["cost"]["bytes_up_per_round"] > 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {(line["round"], line["set"]) for line in lines} >= {
        (1, "standard"),
        (2, "noisy"),
        (2, "validation"),
    }
    for name in (
        "settings.toml",
        "report.html",
        "model/config.json",
        "model/model.safetensors",
        "model/MODEL_CARD.md",
    ):
        assert (run / name).is_file(), name
    assert "TF-IDF, pooled" in printed
    assert str(run / "report.html") in printed


def test_every_figure_of_the_table_is_in_the_results(finished: tuple[Path, str, Path]) -> None:
    run, printed, _ = finished
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    known = {
        f"{100 * scored['macro_f1']:.1f}"
        for group in (results["sets"], *results["baselines"].values())
        for scored in group.values()
        if isinstance(scored, dict) and "macro_f1" in scored
    }
    rows = [line for line in printed.splitlines() if line.startswith(("federated,", "TF-IDF,"))]
    assert len(rows) == 4
    shown = {cell for row in rows for cell in row.split() if cell.replace(".", "").isdigit()}
    assert shown
    assert shown <= known


def test_the_same_seed_gives_the_same_numbers(finished: tuple[Path, str, Path]) -> None:
    run, _, where = finished
    again = emr_fl(
        "simulate",
        "--sites",
        "3",
        "--records",
        "300",
        "--rounds",
        "2",
        "--seed",
        "3",
        "--out",
        "again",
        *QUICK,
        cwd=where,
    )
    assert again.returncode == 0, again.stderr
    assert scores(where / "again") == scores(run)
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (run, where / "again")]
    assert weights[0] == weights[1]


def test_the_model_loads_with_plain_transformers(finished: tuple[Path, str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run, _, _ = finished
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForSequenceClassification.from_pretrained(run / "model")
    output = model(**tokenizer("咳嗽、咳痰3天", return_tensors="pt"))
    assert tuple(output.logits.shape) == (1, 50)


def test_predict_and_evaluate_read_the_model(finished: tuple[Path, str, Path]) -> None:
    run, _, where = finished
    answer = emr_fl(
        "predict", "--model", "run/model", "--json", "咳嗽、咳痰3天，伴发热。", "多饮、多尿半年", cwd=where
    )
    assert answer.returncode == 0, answer.stderr
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [line["text"] for line in lines] == [1, 2]
    assert all(0 <= label["probability"] <= 1 for line in lines for label in line["labels"])
    scored = emr_fl(
        "evaluate",
        "--model",
        "run/model",
        "--data",
        "run/data/server/standard.csv",
        "--json",
        "--out",
        "s.json",
        cwd=where,
    )
    assert scored.returncode == 0, scored.stderr
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    measured = json.loads(scored.stdout)["sets"]["standard"]
    assert measured["macro_f1"] == pytest.approx(results["sets"]["standard"]["macro_f1"], abs=1e-6)
    interval = results["sets"]["standard"]["macro_f1_interval"]
    assert measured["macro_f1_interval"] == pytest.approx(interval, abs=1e-6)
    assert json.loads((where / "s.json").read_text(encoding="utf-8")) == json.loads(scored.stdout)


def test_no_planted_identifier_in_anything_that_was_written(finished: tuple[Path, str, Path]) -> None:
    run, printed, _ = finished
    values = {value for value in planted(run / "data") if len(value) >= 6}  # shorter ones occur by chance
    assert len(values) > 50
    searched = 0
    for path in run.rglob("*"):
        if path.is_file() and (run / "data") not in path.parents:
            content = path.read_bytes()
            searched += 1
            for value in values:
                assert value.encode() not in content, path
    assert searched > 10
    assert not any(value in printed for value in values)


def start(where: Path, study: Path, out: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "emr_fl_deploy.cli",
                "simulate",
                "--data",
                str(study),
                "--out",
                out,
            ),
            *("--rounds", "4", "--no-baselines", *QUICK),
        ],
        cwd=where,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_round(run: Path, number: int) -> None:
    until = time.monotonic() + 200
    while time.monotonic() < until:
        if list((run / "checkpoints").glob(f"round-{number:06d}.*")):
            return
        time.sleep(0.02)
    raise AssertionError(f"round {number} did not come")


@pytest.mark.parametrize("delay", [0.0, 0.7], ids=["right after a checkpoint", "within a round"])
def test_resume_after_kill_ends_with_the_same_numbers(
    hand_written: Path, tmp_path: Path, delay: float
) -> None:
    whole = start(tmp_path, hand_written, "whole")
    assert whole.wait(300) == 0, whole.stderr
    killed = start(tmp_path, hand_written, "killed")
    wait_for_round(tmp_path / "killed", 2)
    time.sleep(delay)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    resumed = emr_fl("simulate", "--resume", "--out", "killed", "--no-baselines", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
    for name in ("model/model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_interruption_says_how_to_go_on_and_leaves_no_process(hand_written: Path, tmp_path: Path) -> None:
    process = start(tmp_path, hand_written, "run")
    wait_for_round(tmp_path / "run", 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume --out run" in errors
    assert "Traceback" not in errors
    left = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in left.splitlines() if str(tmp_path) in line]


def test_a_damaged_checkpoint_is_said_and_nothing_of_a_finished_run_is_lost(
    hand_written: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    whole = start(tmp_path, hand_written, "run")
    assert whole.wait(300) == 0, whole.stderr
    before = scores(run)
    metrics = (run / "metrics.jsonl").read_bytes()
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["baselines"] = {"tfidf_balanced_pooled": {"standard": {"macro_f1": 0.5}}}
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    newest = max((run / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1000])
    resumed = emr_fl("simulate", "--resume", "--out", "run", "--no-baselines", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "checkpoint of round 4 can't be used" in resumed.stderr
    assert "continues after round 3" in resumed.stderr
    after = scores(run)
    assert after.pop("baselines") == results["baselines"]
    del before["baselines"]
    assert after == before
    assert (run / "metrics.jsonl").read_bytes() == metrics
    cost = json.loads((run / "results.json").read_text(encoding="utf-8"))["cost"]
    assert cost["wall_s"] > cost["train_wall_s"] + cost["aggregate_s"] + cost["evaluate_s"] - 0.01


def test_a_run_that_the_sites_policies_stop_has_an_exit_code_of_its_own(
    hand_written: Path, tmp_path: Path
) -> None:
    limits = [f"--set=sites.{name}.policy.max_rounds=1" for name in ("north", "south")]
    stopped = emr_fl(
        *("simulate", "--data", str(hand_written), "--out", "run", "--rounds", "2", "--no-baselines"),
        *(*QUICK, *limits),
        cwd=tmp_path,
    )
    assert stopped.returncode == 3, stopped.stderr
    assert "policy.max_rounds" in stopped.stderr
    assert list((tmp_path / "run" / "checkpoints").glob("round-000001.*"))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_during_its_baselines_is_the_one_that_resume_takes_up(
    hand_written: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    results = tmp_path / "runs" / "run" / "results.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "emr_fl_deploy.cli"),
            *("simulate", "--data", str(hand_written), "--out", "runs/run", "--rounds", "2", *QUICK),
        ],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 200
    while not results.is_file() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if stop == signal.SIGINT else -stop), errors
    assert results.is_file(), errors
    before = json.loads(results.read_text(encoding="utf-8"))
    assert before["baselines"] == {} and before["baselines_pending"] is True
    resumed = emr_fl("simulate", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    after = json.loads(results.read_text(encoding="utf-8"))
    assert {"tfidf_balanced_pooled", "tfidf_balanced_local", "federated_plain"} == set(after["baselines"])
    assert "baselines_pending" not in after
    for key in ("sets", "history", "validation"):
        assert after[key] == before[key], "the federation itself was done"
    again = emr_fl("simulate", "--resume", cwd=tmp_path)
    assert again.returncode == 2
    assert "all runs are finished" in again.stderr


PLAIN = ["--set", "training.augmentation.enabled=false", "--set", "training.adversarial.method=none"]
"""Settings that leave TF-IDF as the only baseline."""


def test_a_site_that_could_not_take_part_does_not_end_the_baselines(
    hand_written: Path, tmp_path: Path
) -> None:
    rows = ["text,labels"] + [f"咳嗽{n}天,院内{n}" for n in range(1, 40)]
    (hand_written / "west.csv").write_text("\n".join(rows), encoding="utf-8")
    with (hand_written / "federation.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[sites.west]\nsource = "west.csv"\n')
    done = emr_fl(
        *("simulate", "--data", str(hand_written), "--out", "run", "--rounds", "1"),
        *(*QUICK, *PLAIN),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert set(results["sites"]) == {"north", "south"}
    assert all("standard" in site["tfidf_local"] for site in results["sites"].values())
    assert {"tfidf_balanced_pooled", "tfidf_balanced_local"} == set(results["baselines"])
