"""The order in which a durable write reaches the disk, as the kernel saw it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from emr_fl_server.checkpoints import save_checkpoint
print("begin", flush=True)
save_checkpoint(Path(sys.argv[1]), 1, {"w": np.ones(4, dtype=np.float32)}, {"x": 1})
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_checkpoint_is_synced_before_it_gets_its_name_and_its_folder_after(tmp_path: Path) -> None:
    traced = tmp_path / "strace.txt"
    folder = tmp_path / "checkpoints"
    command = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(traced),
        "-e",
        "trace=openat,write,fsync,rename,renameat,renameat2",
    ]
    done = subprocess.run(
        [*command, sys.executable, "-P", "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "ptrace" in done.stderr and done.returncode != 0:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    steps = []
    for line in traced.read_text(errors="replace").splitlines():
        if str(folder) not in line:
            continue
        if re.search(r"write\(\d+<[^>]*\.part>", line):
            steps.append("write")
        elif re.search(r"fsync\(\d+<[^>]*\.part>", line):
            steps.append("sync file")
        elif "rename" in line:
            steps.append("rename")
        elif re.search(rf"fsync\(\d+<{re.escape(str(folder))}>", line):
            steps.append("sync folder")
    assert "write" in steps
    order = [step for step in steps if step != "write"]
    assert order[:3] == ["sync file", "rename", "sync folder"]
    assert steps.index("sync file") > max(at for at, step in enumerate(steps) if step == "write")
