"""`emr-fl server start`: three children that are kept alive, and the run folder that outlives them all.

    SuperLink (Flower, loopback)  ←  gateway (public port)  ←  sites
            ↑
    worker (the rounds)

A child that dies is started again. The SuperLink keeps its database for as long as this process lives; a new start of the
server begins with a new one, as everything that counts is in the run folder: the worker continues at the last complete
checkpoint. A run of Flower's whose worker died is ended and a new one is submitted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from emr_fl_server.superlink.link import SuperLink
from emr_fl_server.superlink.presence import NODES_FILE, replace_json
from emr_fl_server.superlink.status import FOLDER, SERVER_FILE, STOP_FILE, read_progress
from emr_fl_server.superlink.worker import TOLD
from emr_fl_shared.errors import (
    EmrFlError,
    FederationError,
    Interrupted,
    PolicyError,
    StorageError,
)
from emr_fl_shared.kit import BUNDLE_FILE, Registry, ServerKit, check_bundle
from emr_fl_shared.locks import RUN_LOCK, only_one
from emr_fl_shared.loopback import make_loopback
from emr_fl_shared.messages import language, tr
from emr_fl_shared.processes import on_stop_signals, start_child, stop_child

WATCH_SECONDS = 0.5
REGISTRY_SECONDS = 2.0
FAREWELL_SECONDS = 20.0
"""After the end the gateway stays this long, so that sites hear that the federation is finished."""
MOST_CRASHES = 5
"""So many crashes of the worker without a round between them end the federation: a bug or a full memory, not bad luck."""
CRASH_PAUSE = 2.0
_FAREWELLS = {code: exit_code for exit_code, code in TOLD.items()}


@dataclass
class Server:
    """One start of a federation's server. `out` is the run folder, which holds the resolved `settings.toml`."""

    kit: ServerKit
    out: Path
    host: str
    port: int
    health: str | None = None
    farewell: float = FAREWELL_SECONDS
    _gateway: subprocess.Popen[bytes] | None = None
    _worker: subprocess.Popen[bytes] | None = None
    _run: int | None = None
    _registry: Registry | None = None
    _nodes: dict[tuple[str, str], int] = field(default_factory=dict)
    """(site, fingerprint of its key) → id at Flower."""
    _listed: dict[str, str] = field(default_factory=dict)
    """What `NODES_FILE` says: fingerprint of a key that is valid now → node."""
    _stopping: int = 0
    _looked: float = 0.0

    @property
    def folder(self) -> Path:
        """What this start of the server needs beside the run's results; made anew each time."""
        return self.out / FOLDER

    def run(self) -> int:
        """Run until the federation is done, stopped or can't go on; returns the exit code (the worker told why)."""
        with self._locked():
            self._fresh_folder()
            self._registry = self.kit.registry()
            self.bundle = self._read_bundle()
            self.link = SuperLink(self.folder, make_loopback(self.folder))
            self._health = None
            with on_stop_signals(self._on_signal):
                try:
                    if self.health:
                        # children are started while it runs; they replace themselves at once, gRPC need not follow them
                        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
                        from emr_fl_server.superlink.health import HealthServer

                        self._health = HealthServer(self.health)
                    self._say_start()
                    self.link.start()
                    self._register()
                    self._start_gateway()
                    return self._supervise()
                finally:
                    self._end_all()

    def _end_all(self) -> None:
        if self._health is not None:
            self._health.stop()
        for child in (self._worker, self._gateway):
            stop_child(child)
        self.link.stop()
        with contextlib.suppress(OSError):
            (self.folder / SERVER_FILE).unlink()
            for name in ("state.db", "state.db-wal", "state.db-shm"):
                (self.folder / name).unlink(missing_ok=True)

    # --- start ---------------------------------------------------------------------------------------------------------

    def _locked(self) -> AbstractContextManager[None]:
        self.out.mkdir(parents=True, exist_ok=True)
        message = tr("a run is at work in this folder already", "该运行目录正被另一个运行使用")
        return only_one(self.out / RUN_LOCK, message, do="emr-fl server status")

    def _fresh_folder(self) -> None:
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                tr("can't be written", "无法写入"), where=str(self.folder), got=error.strerror or ""
            ) from None

    def _read_bundle(self) -> bytes:
        path = self.kit.folder / BUNDLE_FILE
        try:
            bundle = path.read_bytes()
        except OSError:
            raise PolicyError(
                tr("the kit has no app bundle", "套件中没有应用包"),
                where=str(path),
                do="emr-fl server renew server --kits KITS",
            ) from None
        check_bundle(bundle, self.kit.signing_key, federation_id=self.kit.document.federation_id)
        return bundle

    def _say_start(self) -> None:
        replace_json(
            self.folder / SERVER_FILE,
            {
                "pid": os.getpid(),
                "started": time.time(),
                "kit": str(self.kit.folder.resolve()),
                "host": self.host,
                "port": self.port,
                "health": self.health,
            },
        )
        if warning := self.kit.warning():
            self._say(f"{tr('warning', '警告')}: {warning}")
        self._say(
            tr(
                f"federation {self.kit.document.federation}: sites reach this server at port {self.port}; run folder {self.out}",
                f"联邦 {self.kit.document.federation}：各机构经端口 {self.port} 连接；运行目录 {self.out}",
            )
        )

    def _register(self) -> None:
        """Bring the SuperLink's nodes to what the registry says."""
        assert self._registry is not None
        current = {
            (entry.name, entry.fingerprint): entry for entry in self._registry.entries if not entry.revoked
        }
        for key in sorted(set(self._nodes) - set(current)):
            self.link.unregister(self._nodes.pop(key))
            self._say(tr(f"{key[0]}: no longer registered", f"{key[0]}：已取消登记"))
        for key, entry in sorted(current.items(), key=lambda item: item[0]):
            if key not in self._nodes:
                self._nodes[key] = self.link.register(entry.name, entry.public_key)
        self._list_nodes()

    def _list_nodes(self) -> None:
        """Tell the others which nodes may speak now. One whose key has run out stays registered: Flower takes no key twice."""
        assert self._registry is not None
        now = datetime.now(UTC)
        listed: dict[str, str] = {}
        for (name, fingerprint), node in self._nodes.items():
            entry = self._registry.site_of(fingerprint)
            if entry is not None and entry.valid_at(now):
                listed[fingerprint] = str(node)
            elif fingerprint in self._listed:
                self._say(tr(f"{name}: its kit has expired", f"{name}：套件已过期"))
        if listed != self._listed:
            self._listed = listed
            replace_json(self.folder / NODES_FILE, listed)

    def _start_gateway(self) -> None:
        given = {
            "kit": str(self.kit.folder),
            "folder": str(self.folder),
            "upstream": self.link.url,
            "authority": str(self.link.loopback.authority),
            "host": self.host,
            "port": self.port,
        }
        self._gateway = start_child(
            ["-m", "emr_fl_server.superlink.gateway", json.dumps(given)], log=self.folder / "gateway.log"
        )
        # a port that is taken ends the process at once: said now, not tried for ever
        time.sleep(1.0)
        for _ in range(100):
            if self._gateway.poll() is not None:
                raise FederationError(
                    tr("the public port can't be opened", "无法打开对外端口"),
                    where=f"{self.host}:{self.port}",
                    do=tr(
                        "is another server using it? choose another with --port",
                        "是否已被占用？可用 --port 换一个",
                    ),
                )
            if self._answers():
                return
            time.sleep(0.2)

    def _answers(self) -> bool:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        try:
            # any answer will do; the certificate names the public address, not this one
            httpx.get(f"https://{host}:{self.port}/", verify=False, timeout=2.0, trust_env=False)
        except httpx.HTTPError:
            return False
        return True

    def _start_worker(self) -> None:
        assert self._registry is not None
        self._run = self.link.submit(self.bundle)
        given = {
            "out": str(self.out),
            "folder": str(self.folder),
            "port": self.link.port,
            "kit": str(self.kit.folder.resolve()),
            "sites": sorted({entry.name for entry in self._registry.entries if not entry.revoked}),
            "lang": language(),
        }
        self._worker = start_child(
            ["-m", "emr_fl_server.superlink.worker", json.dumps(given)],
            environment={"EMR_FL_LANG": language()},
        )

    # --- watch ---------------------------------------------------------------------------------------------------------

    def _supervise(self) -> int:
        self._start_worker()
        crashes, round_at_crash = 0, -1
        while True:
            time.sleep(WATCH_SECONDS)
            self._keep_link()
            self._keep_gateway()
            self._follow_registry()
            if self._health is not None:
                self._health.set(self.link.alive and self._gateway_alive())
            if self._stopping >= 2:
                raise Interrupted(
                    tr("stopped at once; complete rounds are kept", "已立即停止；已完成的轮次均已保存"),
                    where=str(self.out),
                    do=f"emr-fl server start --resume --out {self.out}",
                )
            assert self._worker is not None
            code = self._worker.poll()
            if code is None:
                continue
            if code == 0 or code in _FAREWELLS:
                self._bid_farewell()
                return _FAREWELLS.get(code, 0)
            if self._stopping:
                return Interrupted.exit_code
            done = read_progress(self.folder).round
            crashes = crashes + 1 if done == round_at_crash else 1
            round_at_crash = done
            self._say(
                tr(
                    f"the process that runs the rounds ended ({_cause(code)}); it continues at the last complete round",
                    f"执行轮次的进程已结束（{_cause(code)}）；将从最近完成的轮次继续",
                )
            )
            if crashes >= MOST_CRASHES:
                raise FederationError(
                    tr("the rounds can't go on", "轮次无法继续"),
                    where=str(self.out),
                    got=_cause(code),
                    do=f"emr-fl server start --resume --out {self.out}",
                )
            time.sleep(CRASH_PAUSE)
            self._end_run()
            self._start_worker()

    def _keep_link(self) -> None:
        if self.link.alive:
            return
        self._say(tr("the SuperLink ended; starting it again", "SuperLink 已结束；正在重新启动"))
        self.link.start()

    def _gateway_alive(self) -> bool:
        return self._gateway is not None and self._gateway.poll() is None

    def _keep_gateway(self) -> None:
        if self._gateway_alive():
            return
        self._say(tr("the gateway ended; starting it again", "网关已结束；正在重新启动"))
        self._start_gateway()

    def _follow_registry(self) -> None:
        """New, renewed, revoked and expired keys take effect without a restart."""
        if time.monotonic() - self._looked < REGISTRY_SECONDS:
            return
        self._looked = time.monotonic()
        assert self._registry is not None
        try:
            registry = self.kit.registry(at_least=self._registry.revision)
        except EmrFlError as error:
            self._say(f"{tr('warning', '警告')}: {error.render()}")
            return
        if registry.revision == self._registry.revision:
            self._list_nodes()
            return
        before, self._registry = self._registry, registry
        try:
            self._register()
        except httpx.HTTPError:
            self._registry = before  # the SuperLink is being restarted: tried again

    def _end_run(self) -> None:
        if self._run is not None:
            with contextlib.suppress(httpx.HTTPError):
                self.link.end_run(self._run)

    def _bid_farewell(self) -> None:
        """Leave the gateway open for a moment, so that sites hear how it ended."""
        self._end_run()
        until = time.monotonic() + self.farewell
        while time.monotonic() < until and self._stopping < 2:
            time.sleep(0.2)

    def _on_signal(self, number: int, _: object) -> None:
        self._stopping += 1
        if self._stopping == 1:
            (self.folder / STOP_FILE).touch()
            self._say(
                tr(
                    "stopping after this round; once more stops at once",
                    "将在本轮结束后停止；再按一次则立即停止",
                )
            )

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"
