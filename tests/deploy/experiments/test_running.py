"""Real runs of a small experiment by the command: what fails, what is not repeated, what is taken up after a stop."""

from __future__ import annotations

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from emr_fl_deploy.experiments.plan import Cell
from emr_fl_deploy.experiments.running import last_error
from emr_fl_deploy.experiments.tracking import Tracker, final_figures
from emr_fl_deploy.simulate.command import Request, _prepare_folder

ENVIRONMENT = {**os.environ, "EMR_FL_LANG": "en", "OMP_NUM_THREADS": "1"}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "emr_fl_deploy.cli", "experiment", *map(str, arguments)]


def emr_fl(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=1500,
        env=ENVIRONMENT | environment,
    )


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def events(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of an event file, read as TensorBoard does: length, its checksum, the record, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events.*")
    raw, found = path.read_bytes(), []
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        event = Event.FromString(raw[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        raw = raw[12 + length + 4 :]
    return found


def test_the_list_says_what_each_answers_and_costs() -> None:
    done = emr_fl("list", "--json", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    found = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert found.keys() == {"table1", "table2", "table3", "federated", "cost"}
    assert found["table1"]["runs"] == 2 * (len(found["table1"]["configurations"]) - 1)
    assert found["federated"]["runs"] == 2 * (4 + 6), "a site alone is a run for each site"
    assert all(entry["answers"].endswith("?") and entry["hours"] > 0 for entry in found.values())
    plain = emr_fl("list", "--lang", "zh")
    assert plain.returncode == 0 and "消融" in plain.stdout


def test_a_wrong_name_is_wrong_usage() -> None:
    done = emr_fl("run", "table9")
    assert done.returncode == 2
    assert "table1" in done.stderr and "Traceback" not in done.stderr


def test_a_failing_run_stops_no_other_and_a_finished_one_is_not_repeated(
    small_file: Path, hand_written: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = ["run", small_file, "--data", hand_written, "--seeds", "1", "--out", out]
    chosen = ["--only", "plain", "--only", "broken", "--only", "tfidf", "--only", "alone"]
    # what the environment sets counts, but not against what makes a row that row
    done = emr_fl(*given, *chosen, EMR_FL_SET__TRAINING__BALANCE="0.7", EMR_FL_SET__TRAINING__EPOCHS="2")
    assert done.returncode == 1, done.stderr
    assert "model.name: there is no such model folder" in done.stderr and "Traceback" not in done.stderr
    results = read(out / "results.json")
    rows = {row["id"]: row for row in results["configurations"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "plain": "finished",
        "broken": "failed",
        "tfidf": "finished",
        "alone": "finished",
        "bert": "not_run",
    }
    assert "no such model folder" in rows["broken"]["runs"][0]["reason"]
    assert not (out / "runs" / "broken").exists(), "what was refused left nothing"
    own = read(out / "runs/plain/seed-0/results.json")
    figure = rows["plain"]["figures"]["standard.macro_f1"]
    assert figure["mean"] == own["sets"]["standard"]["macro_f1"] and figure["n"] == 1
    settings = (out / "runs/plain/seed-0/settings.toml").read_text(encoding="utf-8")
    assert "balance = 0.0" in settings and "epochs = 2" in settings
    alone = [read(out / f"runs/alone/{site}/seed-0/results.json") for site in ("north", "south")]
    assert [list(result["sites"]) for result in alone] == [["north"], ["south"]]
    assert rows["alone"]["by_seed"]["0"]["standard.macro_f1"] == pytest.approx(
        sum(result["sets"]["standard"]["macro_f1"] for result in alone) / 2
    )
    tfidf = read(out / "runs/tfidf/seed-0/results.json")
    assert tfidf["balanced"] is False and {"standard", "noisy"} <= tfidf["sets"].keys()
    assert tfidf["sets"]["noisy"]["drop"] == pytest.approx(
        1 - tfidf["sets"]["noisy"]["macro_f1"] / tfidf["sets"]["standard"]["macro_f1"]
    )
    for name in ("results.csv", "results.md", "results.tex", "index.html"):
        assert (out / name).stat().st_size > 500, name
    notes = [line["text"] for line in csv.DictReader((hand_written / "north.csv").open(encoding="utf-8"))]
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(note.encode() in content for note in notes), path

    scalars = events(out / "tensorboard/plain/seed-0")
    assert ("standard/macro_f1", 1) in {(tag, step) for tag, step, _ in scalars}
    final = {tag: value for tag, _, value in scalars if tag.startswith("final/")}
    assert final["final/standard.macro_f1"] == pytest.approx(figure["mean"], rel=1e-6)

    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/**/results.json")}
    again = emr_fl(
        *given,
        "--only",
        "plain",
        "--only",
        "broken",
        EMR_FL_SET__TRAINING__BALANCE="0.7",
        EMR_FL_SET__TRAINING__EPOCHS="2",
    )
    assert again.returncode == 1 and "1 of 2 runs were finished before" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/**/results.json")} == before
    other = emr_fl(*given, "--rounds", "2")
    assert other.returncode == 2 and "settings.federation.rounds" in other.stderr


def test_stopped_and_killed_it_goes_on_where_it_was(
    small_file: Path, hand_written: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = [
        "run",
        small_file,
        "--data",
        hand_written,
        "--seeds",
        "1",
        "--only",
        "plain",
        "--rounds",
        "6",
        "--out",
        out,
    ]
    metrics = out / "runs/plain/seed-0/metrics.jsonl"
    for rounds, stop in ((1, signal.SIGINT), (3, signal.SIGKILL)):
        process = subprocess.Popen(command(*given), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        wait_for_round(metrics, rounds, process)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == (130 if stop == signal.SIGINT else -stop), errors
        wait_until_nobody_works_in(out)
        if stop == signal.SIGINT:
            assert f"--out {out}" in errors and read(out / "results.json")["complete"] is False
    assert not (out / "runs/plain/seed-0/results.json").exists()
    done = emr_fl(*given)
    assert done.returncode == 0, done.stderr
    log = (out / "logs/plain/seed-0.log").read_text(encoding="utf-8")
    assert log.count("continues after round") == 2
    results = read(out / "results.json")
    assert results["complete"] is False, "the other rows are still to run"
    steps = [step for tag, step, _ in events(out / "tensorboard/plain/seed-0") if tag == "standard/macro_f1"]
    assert steps == [1, 2, 3, 4, 5, 6], "every round once, those before the stops too"


def wait_for_round(metrics: Path, number: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 900
    while time.monotonic() < until:
        if metrics.is_file() and f'"round": {number},' in metrics.read_text(encoding="utf-8"):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("the round did not come")


def wait_until_nobody_works_in(folder: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        if not any(str(folder) in line for line in lines):
            return
        time.sleep(0.1)
    raise AssertionError("a process of the experiment is left")


def test_a_site_that_takes_part_alone(hand_written: Path, tmp_path: Path) -> None:
    request = Request(
        data=hand_written,
        out=tmp_path / "run",
        only=("south",),
        assignments=("federation.min_sites=1",),
    )
    _, settings, _ = _prepare_folder(request)
    assert list(settings.sites) == ["south"]


def test_the_reason_is_what_the_run_said_last(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("error: an older one\n")
    offset = log.stat().st_size
    with log.open("a") as stream:
        stream.write("round 1/2 …\nerror: data: no such file (got x)\n  → check the path\n")
    assert last_error(log, offset, 1) == "data: no such file (got x) → check the path"
    assert "signal 9" in last_error(log, log.stat().st_size, -9)


def test_lines_that_are_still_growing_are_left_for_later(tmp_path: Path) -> None:
    cell = Cell("plain", 0)
    metrics = cell.folder(tmp_path) / "metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    line = json.dumps({"round": 1, "set": "standard", "macro_f1": 0.5})
    with Tracker(tmp_path) as tracker:
        metrics.write_text(line[:20])
        tracker.follow(cell)
        metrics.write_text(line + "\n")
        tracker.follow(cell)
        tracker.follow(cell)
    assert events(tmp_path / "tensorboard/plain/seed-0") == [("standard/macro_f1", 1, 0.5)]


def test_final_figures_are_the_numbers_of_sets_and_cost() -> None:
    results = {
        "sets": {"standard": {"n": 3, "macro_f1": 0.5, "interval": [0, 1]}},
        "cost": {"train_s": 2},
        "x": 1,
    }
    assert Counter(dict(final_figures(results))) == {
        "standard.n": 3.0,
        "standard.macro_f1": 0.5,
        "cost.train_s": 2.0,
    }


def test_runs_go_to_a_local_file_store_of_mlflow_whatever_the_environment_says(
    gathered: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is optional and not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http" + "://127.0.0.1:9")
    out = tmp_path / "out"
    cell = Cell("plain", 0)
    with Tracker(out) as tracker:
        tracker.finished(cell, {"training": {"balance": 0.0}})
    client = mlflow.tracking.MlflowClient(tracking_uri=(out / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("plain").experiment_id])
    assert run.data.params == {"seed": "0", "training.balance": "0.0"}
    assert run.data.metrics["final.standard.macro_f1"] == pytest.approx(0.61234)
