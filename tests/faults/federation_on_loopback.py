"""A real federation as real processes on 127.0.0.1: provisioned kits, TLS, registered keys. For tests and `make faults`.

Everything is started by the commands that a user types, and ended by pid.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from emr_fl_shared.durable import write_durably

SITES = ("north", "east", "south")
ENVIRONMENT = {**os.environ, "EMR_FL_LANG": "en", "OMP_NUM_THREADS": "1"}
PATIENCE = 300.0
"""Seconds that a busy machine may need for what takes a few."""


def emr_fl(*arguments: str | Path, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "emr_fl_deploy.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        env=ENVIRONMENT,
    )


@dataclass
class Loopback:
    """One federation in `folder`. `records` training records over three sites, `rounds` rounds of `tiny`."""

    folder: Path
    rounds: int = 2
    records: int = 240
    settings: str = ""
    deadline: str = "10m"
    server_port: int | None = None
    """Where the server listens, if not where the kits say (something stands between them)."""
    server_program: Sequence[str] = ("-m", "emr_fl_deploy.cli")
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        if not data.exists():
            done = emr_fl(
                "data", "synth", "--out", data, "--sites", 3, "--records", self.records, "--seed", 5
            )
            assert done.returncode == 0, done.stderr
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "federation.toml").write_text(
            f"""{self.settings}
[federation]
name = "loopback"
rounds = {self.rounds}
min_sites = 2
round_deadline = "{self.deadline}"
[model]
name = "tiny"
[server]
addresses = ["127.0.0.1"]
port = {self.port}
sites = ["north", "east", "south"]
[evaluation.sets]
standard = "data/server/standard.csv"
validation = "data/server/validation.csv"
[evaluation.adversarial]
texts = 10
budget = 5
""",
            encoding="utf-8",
        )
        done = emr_fl("server", "provision", self.folder / "federation.toml", "--out", self.kits)
        assert done.returncode == 0, done.stderr
        for site, letter in zip(SITES, "abc", strict=True):
            block = (data / "federation.toml").read_text(encoding="utf-8")
            columns = block.partition(f"[sites.hospital-{letter}.columns]")[2].partition("\n[")[0]
            (self.kit(site) / "SITE.toml").write_text(
                f'source = "{data}/sites/hospital-{letter}.csv"\n[columns]{columns}\n', encoding="utf-8"
            )
            # the same hospitals in every federation: their own keys decide pseudonyms, and with them the split
            self.state(site).mkdir(mode=0o700)
            write_durably(self.state(site) / "pseudonym.key", [hashlib.sha256(site.encode()).digest()])

    # --- places -----------------------------------------------------------------------------------------------------

    @property
    def kits(self) -> Path:
        return self.folder / "kits"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def kit(self, site: str) -> Path:
        return self.kits / "sites" / site

    def state(self, site: str) -> Path:
        """Where a site keeps what must survive its process."""
        return self.kit(site) / "state"

    def log(self, name: str) -> str:
        """What a process has printed so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_server(self, *, resume: bool = False) -> None:
        """`emr-fl server start`."""
        options = ["--resume"] if resume else ["--config", str(self.folder / "federation.toml")]
        self._start(
            "server",
            [
                *("server", "start", *options, "--kit", str(self.kits / "server"), "--out", str(self.run)),
                *("--host", "127.0.0.1", "--port", str(self.server_port or self.port)),
            ],
            self.server_program,
        )

    def start_site(self, site: str, faults: Mapping[int, str] | None = None) -> None:
        """`emr-fl client join`; with `faults` (round → name in `hostile_sites`) that of a site that misbehaves."""
        kit = str(self.kit(site))
        if faults:
            by_round = json.dumps({str(number): fault for number, fault in faults.items()})
            self._start(site, [site, kit, by_round], [str(Path(__file__).with_name("hostile_sites.py"))])
        else:
            self._start(site, ["client", "join", "--site", site, "--kit", kit, "--leave-when-finished"])

    def _start(
        self, name: str, arguments: list[str], program: Sequence[str] = ("-m", "emr_fl_deploy.cli")
    ) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )

    def child(self, name: str, module: str) -> psutil.Process:
        """The child of a command whose command line holds `module`."""
        for process in psutil.Process(self.processes[name].pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(module in argument for argument in process.cmdline()):
                    return process
        raise LookupError(f"{name} has no {module}")

    def kill(self, name: str, module: str | None = None) -> None:
        """SIGKILL to a command itself, or to one of its children."""
        if module is None:
            self.processes[name].kill()
            self.processes[name].wait(30)
        else:
            self.child(name, module).kill()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a command."""
        self.processes[name].send_signal(number)

    def wait(self, name: str, timeout: float = PATIENCE) -> int:
        """The exit code of a command."""
        return self.processes[name].wait(timeout)

    def ended(self, name: str) -> bool:
        """Whether a command has ended."""
        return self.processes[name].poll() is not None

    def until(
        self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE, every: float = 0.1
    ) -> None:
        """Wait for a condition, looking `every` so many seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(every)
        raise TimeoutError(f"{what}\nserver: {self.log('server')[-1500:]}")

    # --- where it stands ------------------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """The round loop's own word."""
        try:
            found: dict[str, Any] = json.loads((self.run / "superlink" / "progress.json").read_text())
        except (OSError, ValueError):
            return {"phase": "none", "round": 0, "asked": [], "replied": {}}
        return found

    def checkpoints(self) -> list[int]:
        """Rounds that are on disk."""
        return sorted(int(path.stem[6:]) for path in (self.run / "checkpoints").glob("round-*.safetensors"))

    def training(self, site: str, number: int) -> bool:
        """Whether a site is computing in a round, by its own word."""
        return f"round {number}: training" in self.log(site)

    def model_digest(self) -> str:
        """SHA-256 of the final model's weights."""
        return hashlib.sha256((self.run / "model" / "model.safetensors").read_bytes()).hexdigest()

    def audit(self) -> list[dict[str, Any]]:
        """The server's record of what it accepted and refused."""
        path = self.run / "audit" / "server.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for process in self.processes.values():
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        child.kill()
            if process.poll() is None:
                process.kill()
            process.wait(30)


@contextmanager
def federation(folder: Path, **options: Any) -> Iterator[Loopback]:
    """A federation that is ended afterwards."""
    running = Loopback(folder, **options)
    try:
        yield running
    finally:
        running.close()


def start_all(running: Loopback) -> None:
    """Server and three sites."""
    running.start_server()
    for site in SITES:
        running.start_site(site)


def finish_all(running: Loopback) -> None:
    """Wait until the server and the sites that are left have ended well."""
    assert running.wait("server") == 0, running.log("server")[-3000:]
    for site in SITES:
        if site in running.processes:
            assert running.wait(site, 60) == 0, running.log(site)[-2000:]


KILL = signal.SIGKILL
