"""Flower's SuperLink as a child: loopback only, TLS, registered nodes only, state on disk, nothing installed at run time."""

from __future__ import annotations

import hashlib
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from emr_fl_shared.errors import FederationError
from emr_fl_shared.loopback import HOST, Loopback
from emr_fl_shared.messages import tr
from emr_fl_shared.processes import free_port, start_child, stop_child
from emr_fl_shared.tasks import Endpoint

START_SECONDS = 60.0
_PROGRAM = """
import logging
# a line for every request that a node or a worker makes would fill a disk within weeks
logging.getLogger("uvicorn.access").addFilter(lambda record: False)
from flwr.superlink.cli.flower_superlink import flower_superlink
flower_superlink()
"""


@dataclass
class SuperLink:
    """One SuperLink with its files in `folder` (mode 0700). Its port stays the same when it is started again."""

    folder: Path
    loopback: Loopback
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.port, self.loopback)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. Raises `FederationError` when it does not."""
        self.process = start_child(
            [
                *("-c", _PROGRAM, "--database", str(self.folder / "state.db")),
                *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
                *self.loopback.flower_options(self.port),
            ],
            log=self.folder / "superlink.log",
            environment={"FLWR_HOME": str(self.folder / "flwr")},
        )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with self.control() as control:
                    control.ListNodes(ListNodesRequest())
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise FederationError(
            tr("Flower's SuperLink does not start", "Flower SuperLink 无法启动"),
            where=str(self.folder / "superlink.log"),
            got=f"exit {self.process.returncode}" if self.process.returncode is not None else "",
        )

    def stop(self) -> None:
        """End it."""
        stop_child(self.process)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def control(self) -> ControlHttpClient:
        """A client of the Control API, which only this machine can reach."""
        return ControlHttpClient.from_server_address(
            f"{HOST}:{self.port}",
            False,
            self.loopback.authority.read_bytes(),
            [RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )

    def register(self, name: str, public_key: str) -> int:
        """Make a site's key (OpenSSH) known under its name; returns the node id."""
        key = load_ssh_public_key(public_key.encode())
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with self.control() as control:
            return int(control.RegisterNode(RegisterNodeRequest(public_key=pem, name=name)).node_id)

    def unregister(self, node: int) -> None:
        """Forget a node."""
        with self.control() as control:
            control.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def submit(self, bundle: bytes) -> int:
        """Start a run of the bundle's apps; returns its id."""
        digest = hashlib.sha256(bundle).hexdigest()
        with self.control() as control:
            answer = control.StartRun(StartRunRequest(fab=fab_to_proto(Fab(digest, bundle, {}))))
        if not answer.HasField("run_id"):
            raise FederationError(tr("Flower did not start the run", "Flower 未能启动运行"))
        return int(answer.run_id)

    def end_run(self, run: int) -> None:
        """Stop a run that nobody works on any more, so that nodes do not go on for it."""
        with self.control() as control:
            control.StopRun(StopRunRequest(run_id=run))
