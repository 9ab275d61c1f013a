"""A server that turns hostile submits code to the hospitals. None of it runs, and each hospital says why it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from faults.federation_on_loopback import ENVIRONMENT, SITES, federation

# A server whose own check of the bundle was taken out, as whoever controls the server can do.
HOSTILE_SERVER = """
import emr_fl_server.superlink.supervisor as supervisor
supervisor.check_bundle = lambda *_, **__: "0.0.0"
from emr_fl_deploy.cli import main
main()
"""


def hostile_bundle(honest: bytes, marker: Path) -> bytes:
    """The honest bundle with packages that would shadow ours, each of which leaves a mark when it is imported."""
    code = f"open({str(marker)!r}, 'a').write(__name__ + chr(10))\n".encode()
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        files = {"pyproject.toml": archive.read("pyproject.toml")}
    for package in ("emr_fl_client", "emr_fl_server", "emr_fl_shared", "sitecustomize"):
        files[f"{package}/__init__.py"] = code
        files[f"{package}/app.py"] = code
    listing = "\n".join(
        f"{name},{hashlib.sha256(content).hexdigest()},{8 * len(content)}" for name, content in files.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**files, ".info/CONTENT": listing.encode()}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_code_in_a_bundle_never_runs_at_a_hospital(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with federation(tmp_path / "federation") as running:
        bundle = running.kits / "server" / "bundle.fab"
        bundle.write_bytes(hostile_bundle(bundle.read_bytes(), marker))
        with open(running.folder / "server.log", "ab") as log:
            running.processes["server"] = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", HOSTILE_SERVER, "server", "start"),
                    *("--config", running.folder / "federation.toml", "--kit", running.kits / "server"),
                    *("--out", running.run, "--host", "127.0.0.1", "--port", str(running.port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        for site in SITES:
            running.start_site(site)
        running.until(
            lambda: all("holds files of its own" in running.log(site) for site in SITES), "all sites refuse"
        )
        running.until(
            lambda: all(
                any(
                    f" {site}: " in line and "holds files" in line
                    for line in running.log("server").splitlines()
                )
                for site in SITES
            ),
            "the server hears it",
        )
        assert running.checkpoints() == []
        for site in SITES:
            state = running.kit(site) / "state"
            kinds = [
                json.loads(line)["kind"]
                for line in (state / "audit" / "egress.jsonl").read_text().splitlines()
            ]
            assert set(kinds) == {"failed"}
            assert not list(state.rglob("*.py"))
    assert not marker.exists()


def test_an_honest_server_does_not_start_with_such_a_bundle(tmp_path: Path) -> None:
    with federation(tmp_path) as running:
        bundle = running.kits / "server" / "bundle.fab"
        bundle.write_bytes(hostile_bundle(bundle.read_bytes(), tmp_path / "marker"))
        running.start_server()
        assert running.wait("server", 120) == 3
        assert "holds files of its own" in running.log("server")
        assert not (running.run / "checkpoints").exists()
