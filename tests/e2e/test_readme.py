"""The commands of both READMEs are executed as they stand; only `…` is replaced by a real run's name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
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


QUICK = [line for line in commands(READMES[0]) if line.startswith("emr-fl") and line != "emr-fl simulate"]


def test_the_commands_run_one_after_the_other(workplace: Path) -> None:
    assert len(QUICK) >= 6
    for command in QUICK:
        run(command, workplace)
    assert (workplace / "sample" / "federation.toml").is_file()


@pytest.mark.slow
def test_the_default_simulation_runs(tmp_path: Path) -> None:
    run("emr-fl simulate", tmp_path)
