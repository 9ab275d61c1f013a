"""The commands of both READMEs are executed as they stand; only `…` is replaced by a real run's name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
# one round instead of twenty; everything else as a user gets it
ENVIRONMENT = {
    **os.environ,
    "EMR_FL_LANG": "en",
    "EMR_FL_SET__FEDERATION__ROUNDS": "1",
    "EMR_FL_SET__EVALUATION__ADVERSARIAL__TEXTS": "10",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def commands(readme: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_both_readmes_have_the_same_commands() -> None:
    assert commands(READMES[0]) == commands(READMES[1])


@pytest.mark.parametrize(
    "target", [line.split()[1] for line in commands(READMES[0]) if line.startswith("make")]
)
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `my-study`, as the README's example describes it."""
    from conftest import write_notes

    where = tmp_path_factory.mktemp("readme")
    study = where / "my-study"
    study.mkdir()
    example = re.findall(r"```toml\n(.*?)```", (ROOT / READMES[0]).read_text(encoding="utf-8"), re.DOTALL)
    (study / "federation.toml").write_text(example[0], encoding="utf-8")
    for name, rows, seed in (("north", 60, 1), ("south", 40, 2), ("test", 60, 3)):
        write_notes(study / f"{name}.csv", rows, seed)
    shutil.copy(study / "test.csv", where / "test.csv")
    return where


def run(command: str, where: Path) -> None:
    runs = sorted((where / "runs").glob("*")) if (where / "runs").is_dir() else []
    words = [re.sub(r"runs/[^/]*…", str(runs[-1]), word) if runs else word for word in shlex.split(command)]
    done = subprocess.run(words, cwd=where, env=ENVIRONMENT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr


ACROSS = [line for line in commands(READMES[0]) if line.startswith(("emr-fl server", "emr-fl client"))]
QUICK = [
    line
    for line in commands(READMES[0])
    if line.startswith("emr-fl") and line != "emr-fl simulate" and line not in ACROSS
]


def test_the_commands_run_one_after_the_other(workplace: Path) -> None:
    assert len(QUICK) >= 6
    for command in QUICK:
        run(command, workplace)
    assert (workplace / "sample" / "federation.toml").is_file()


@pytest.mark.slow
def test_the_default_simulation_runs(tmp_path: Path) -> None:
    run("emr-fl simulate", tmp_path)


def test_the_commands_of_a_real_federation_run(tmp_path: Path) -> None:
    """As in the README, with this machine's address, a free port, and two rounds; the site that it does not show joins too."""
    from conftest import write_notes
    from emr_fl_shared.processes import free_port

    example = re.findall(r"```toml\n(.*?)```", (ROOT / READMES[0]).read_text(encoding="utf-8"), re.DOTALL)[1]
    example = example.replace("fl.example.org", "127.0.0.1").replace("9443", str(free_port()))
    (tmp_path / "federation.toml").write_text(example, encoding="utf-8")
    for name, rows, seed in (("north", 60, 1), ("south", 40, 2), ("test", 60, 3)):
        write_notes(tmp_path / f"{name}.csv", rows, seed)
    provision, start, status, check, join = ACROSS
    assert [line.split()[2] for line in ACROSS] == ["provision", "start", "status", "check", "join"]
    run(provision, tmp_path)
    for name in ("north", "south"):
        (tmp_path / "kits" / "sites" / name / "SITE.toml").write_text(f'source = "{tmp_path / name}.csv"\n')
    started: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "log.txt"
    try:
        with log.open("ab") as out:
            for command in (start, join, join.replace("north", "south")):
                extra = [] if command == start else ["--leave-when-finished"]
                started.append(
                    subprocess.Popen(
                        [*shlex.split(command), *extra],
                        cwd=tmp_path,
                        env=ENVIRONMENT,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                    )
                )
        wait_for(lambda: any((tmp_path / "runs").glob("*/superlink/server.json")), log)
        run(status, tmp_path)
        run(check, tmp_path)
        for process in started:
            assert process.wait(400) == 0, log.read_text(encoding="utf-8")
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
    assert list((tmp_path / "runs").glob("*/results.json"))


def wait_for(condition: Callable[[], bool], log: Path, seconds: float = 300.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, log.read_text(encoding="utf-8")
        time.sleep(0.2)
