"""`emr-fl client join`: greet the server, keep Flower's SuperNode and the worker alive, say what is going on, stay.

Network loss, a restarted server, a sleeping laptop and, once it was connected, a server whose certificate has run out are
waited out with a growing pause, for as long as it takes. It ends only when the server refuses this site for a reason that
waiting does not mend, when the worker finds the site's own set-up broken, or when it is told to.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import shutil
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from emr_fl_client.join.greeting import CertificateDates, Greeter, Unreachable
from emr_fl_client.join.place import Place
from emr_fl_shared.errors import EmrFlError, Interrupted
from emr_fl_shared.hello import HelloReply
from emr_fl_shared.locks import only_one
from emr_fl_shared.loopback import make_loopback
from emr_fl_shared.messages import language, tr
from emr_fl_shared.processes import free_port, on_stop_signals, start_child, stop_child
from emr_fl_shared.tasks import deactivate_node

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
GREET_SECONDS = 15.0
"""How often the server is greeted while all is well: finds out that it is gone, finished, or will not have us any more."""
REJOIN_PAUSE = 5.0
"""Before a node that ended is started again; grows by `GROWTH` while nodes end young."""
GROWTH = 1.6
SETTLED_SECONDS = 120.0
"""A worker or node that lived so long was not broken from the start: its ends are counted anew."""
SILENT_SECONDS = 45.0
"""A node says something every 30 s at least. One that the gateway has not heard for so long, twice as far apart, hangs. Both together
are shorter than the server waits for a site that is gone (Flower's 60 s and `asking.ABSENCE_SECONDS`)."""
NODE_PROGRAM = "from flwr.supernode.cli.flower_supernode import flower_supernode; flower_supernode()"
WORKER_CRASHES = 5
MODELS = ("without-model", "rewritten")
RECORDS = ("reading", "from-cache", "preparing", "not-cached", "splitting")
"""What a site says about its records (`RecordStore`)."""


@dataclass
class Join:
    """One stay in a federation."""

    place: Place
    leave_when_finished: bool = False
    _node: subprocess.Popen[bytes] | None = None
    _worker: subprocess.Popen[bytes] | None = None
    _events: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _said: str = ""
    _connected: bool = False
    _crashes: int = 0
    _worker_since: float = 0.0
    _node_since: float = 0.0
    _task_since: float | None = None
    """Since when the worker holds a task; `None` between tasks."""
    _torn: bool = False
    """Whether the node waits for the rest of a task or a reply that will never come: only a new node is of use then."""
    _silent_since: float | None = None
    """Since when the gateway misses the node, `None` while it does not."""
    _server_away: bool = False
    """Whether the server could not be reached while this node lived: its end says nothing about the node then."""
    _round: tuple[int, int] = (0, 0)

    def run(self) -> int:
        """Join and stay; returns the exit code. Raises `EmrFlError` with the reason when it can't."""
        with self._locked(), on_stop_signals(lambda *_: self._stop.set()):
            self._folder = self.place.state / "supernode"
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(mode=0o700, parents=True)
            self._loopback = make_loopback(self._folder)
            self._port = free_port()
            self._greeter = Greeter(self.place.kit)
            if warning := self.place.kit.warning():
                self._say(f"{tr('warning', '警告')}: {warning}")
            try:
                return self._stay()
            finally:
                stop_child(self._node)
                stop_child(self._worker)
                self._greeter.close()
                shutil.rmtree(self._folder, ignore_errors=True)

    # --- the life of a member --------------------------------------------------------------------------------------------

    def _stay(self) -> int:
        pause, rejoin = FIRST_PAUSE, 0.0
        while not self._stop.is_set():
            incarnation = secrets.token_hex(8)
            try:
                reply = self._greeter.hello(incarnation)
            except (Unreachable, CertificateDates) as error:
                if isinstance(error, CertificateDates) and not self._connected:
                    raise  # at the beginning somebody is there to read it
                self._say_once(
                    tr("waiting for the server: ", "等待服务器：")
                    + error.render().splitlines()[0]
                    + tr("; trying again", "；正在重试")
                )
                self._stop.wait(pause)
                pause, rejoin = min(LONGEST_PAUSE, pause * GROWTH), 0.0  # it was the server, not the node
                continue
            if self._finished(reply):
                return 0
            pause, self._connected = FIRST_PAUSE, True
            self._say(
                tr(
                    f"connected to {self._greeter.address} as {self.place.name}; {_phase(reply)}",
                    f"已作为 {self.place.name} 连接到 {self._greeter.address}；{_phase(reply)}",
                )
            )
            if reply.node:
                kit = self.place.kit
                deactivate_node(self._greeter.address, kit.ca_certificate, kit.node_key_path, int(reply.node))
            self._start_node()
            if self._watch():
                return 0
            stop_child(self._node)
            last = 0.0 if self._server_away else rejoin
            rejoin = rejoin_pause(last, time.monotonic() - self._node_since)
            self._stop.wait(rejoin)
        raise Interrupted(tr("left the federation as asked", "已按要求离开联邦"), where=self.place.name)

    def _watch(self) -> bool:
        """Until the node ends, is of no more use, or the server no longer knows us; True when the federation is finished and we leave.

        Raises `PolicyError` when the server refuses us now.
        """
        assert self._node is not None
        self._ensure_worker()
        greeted = time.monotonic()
        self._torn, self._silent_since, self._server_away = False, None, False
        while not self._stop.is_set():
            self._drain()
            if self._node.poll() is not None:
                self._say(tr("the connection ended; joining again", "连接已结束；正在重新加入"))
                return False
            assert self._worker is not None
            if self._worker.poll() is not None:
                self._worker_ended()
            if self._torn:
                return False
            if time.monotonic() - greeted > GREET_SECONDS:
                greeted = time.monotonic()
                try:
                    reply = self._greeter.hello()
                except (Unreachable, CertificateDates):
                    # Flower's node goes on trying by itself; it holds what is to be sent
                    self._say_once(tr("the server can't be reached; staying", "暂时无法连接服务器；保持等待"))
                    self._silent_since, self._server_away = None, True
                    continue
                if self._finished(reply):
                    return True
                if self._hangs(reply):
                    self._say(
                        tr("Flower's node hangs; starting a new one", "Flower 节点无响应；正在启动新节点")
                    )
                    return False
            self._stop.wait(0.3)
        return False

    def _hangs(self, reply: HelloReply) -> bool:
        """Whether the node is there and does nothing, though the server can be reached.

        Two greetings `SILENT_SECONDS` apart must say so: after a sleep the first one comes before the node's own.
        """
        if reply.node_silent < SILENT_SECONDS:
            self._silent_since = None
            return False
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since >= SILENT_SECONDS

    def _finished(self, reply: HelloReply) -> bool:
        if reply.phase not in ("finished", "stopped") or not self.leave_when_finished:
            return False
        self._say(
            tr("the federation is finished", "联邦已结束")
            if reply.phase == "finished"
            else tr("the coordinator stopped the federation", "协调方已停止联邦")
        )
        return True

    # --- the two children ---------------------------------------------------------------------------------------------------

    def _start_node(self) -> None:
        kit = self.place.kit
        self._node_since = time.monotonic()
        self._node = start_child(
            [
                *("-c", NODE_PROGRAM, "--superlink", self._greeter.address),
                *("--root-certificates", str(kit.ca_path)),
                *("--auth-supernode-private-key", str(kit.node_key_path)),
                *self._loopback.flower_options(self._port),
            ],
            log=self.place.state / "supernode.log",
            environment={"FLWR_HOME": str(self._folder / "flwr")},
        )

    def _ensure_worker(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            return
        given = {
            "site": self.place.name,
            "kit": str(self.place.kit.folder),
            "config": str(self.place.settings_path),
            "state": str(self.place.state),
            "folder": str(self._folder),
            "port": self._port,
            "lang": language(),
        }
        self._worker = start_child(
            ["-m", "emr_fl_client.join.worker", json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._worker_since = time.monotonic()
        threading.Thread(target=self._read, args=(self._worker,), daemon=True, name="worker").start()

    def _read(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self._events.put(event)

    def _worker_ended(self) -> None:
        time.sleep(0.2)
        self._drain()
        lived = time.monotonic() - self._worker_since
        self._crashes = 1 if lived > SETTLED_SECONDS else self._crashes + 1
        if self._crashes >= WORKER_CRASHES:
            raise EmrFlError(
                tr("the site's process ends again and again", "机构的工作进程反复退出"),
                where=self.place.name,
                got=f"exit {self._worker.returncode}" if self._worker else "",
                do=tr(
                    "run emr-fl client check; is there enough memory?",
                    "请运行 emr-fl client check；内存是否足够？",
                ),
            )
        self._say(tr("the site's process ended; starting it again", "机构的工作进程已退出；正在重新启动"))
        self._torn = self._task_since is not None
        self._task_since = None
        self._ensure_worker()

    # --- what is going on -----------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._tell(self._events.get_nowait())

    def _tell(self, event: dict[str, Any]) -> None:
        doing = event.get("doing")
        if "step" in event:
            at = (int(event["round"]), int(event["steps"]))
            if at != self._round:
                self._round = at
                self._say(
                    tr(
                        f"round {at[0]}: training, {at[1]} steps",
                        f"第 {at[0]} 轮：训练中，共 {at[1]} 步",
                    )
                )
        elif doing == "failed":
            raise _Told(str(event.get("reason")), int(event.get("code", 1)))
        elif doing == "refused":
            self._say(f"{tr('refused', '已拒绝')}: {event.get('reason')}")
        elif doing == "failing":
            self._say(f"{tr('this task could not be done', '本次任务未能完成')}: {event.get('reason')}")
        elif doing in RECORDS:
            self._say(about_records(event))
        elif doing in MODELS:
            self._say(about_models(event))
        elif doing == "sending-again":
            self._say(tr("the update is there already; sending it again", "更新已经算好；重新发送"))
        elif doing == "sending":
            self._say_once(tr("handing over the reply", "正在交付应答"))
        elif doing == "receiving":
            self._task_since = time.monotonic()
        elif doing == "lost":
            if event.get("reply") and self._task_since is not None and self._task_since > self._node_since:
                self._torn = True
            self._say(
                tr(
                    "the connection was lost before the reply was handed over; it is kept until it is asked for again",
                    "应答交付前连接中断；应答已保存，等待再次请求",
                )
            )
        elif doing == "waiting":
            self._task_since = None
            self._say_once(tr("waiting for the next task", "等待下一个任务"))

    def _say(self, text: str) -> None:
        self._said = text
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._say(text)

    # --- around it --------------------------------------------------------------------------------------------------------------

    def _locked(self) -> AbstractContextManager[None]:
        message = tr("this site has joined already, in another process", "本机构已在另一进程中加入")
        return only_one(self.place.state / ".lock", message)


class _Told(EmrFlError):
    """The worker's own error, already worded."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code

    def render(self) -> str:
        return self.message


def about_records(event: dict[str, Any]) -> str:
    """A line for what is done with the records."""
    match event["doing"]:
        case "reading":
            return tr("reading the records", "正在读取记录")
        case "from-cache":
            return tr(
                "the records are as they were: their de-identified copy is used",
                "记录未变：使用已有的去标识化副本",
            )
        case "preparing":
            reason = {
                "changed": tr(" (records, settings or version changed)", "（记录、设置或版本有变）"),
                "damaged": tr(" (the copy on disk is damaged)", "（磁盘上的副本已损坏）"),
            }.get(str(event.get("because")), "")
            return tr("de-identifying the records", "正在去标识化记录") + reason
        case "not-cached":
            reason = str(event.get("reason"))
            return tr("the de-identified copy is not kept: ", "未保存去标识化副本：") + reason
        case _:
            placed, known, aside = event["placed"], event["known"], event["set_aside"]
            return tr(
                f"split: {placed} patients placed, {known} keep their side; {aside} records on neither side",
                f"划分：新分配 {placed} 名患者，{known} 名保持原侧；{aside} 条记录两侧均不使用",
            )


def about_models(event: dict[str, Any]) -> str:
    """A line for what models did to the training texts; counts only."""
    operator = event["operator"]
    if event["doing"] == "without-model":
        return tr(
            f"augmentation {operator}: no trained model here; its share goes to the rules",
            f"数据增强 {operator}：本机构没有训练好的模型；其份额归规则操作",
        )
    rejected = ", ".join(f"{reason} {count}" for reason, count in sorted(event["rejected"].items())) or "0"
    return tr(
        f"augmentation {operator}: {event['changed']} texts rewritten; rejected: {rejected}",
        f"数据增强 {operator}：改写 {event['changed']} 条文本；拒绝：{rejected}",
    )


def rejoin_pause(last: float, lived: float) -> float:
    """Seconds to wait after a node that lived `lived` seconds; `last`: the pause before it was started, 0 for the first."""
    if last == 0.0 or lived > SETTLED_SECONDS:
        return REJOIN_PAUSE
    return min(LONGEST_PAUSE, last * GROWTH)


def _phase(reply: HelloReply) -> str:
    if reply.phase in ("training", "evaluating"):
        return tr(f"round {reply.round} of {reply.rounds}", f"第 {reply.round}/{reply.rounds} 轮")
    if reply.phase in ("finished", "stopped"):
        return tr("the federation is over; waiting for the next", "联邦已结束；等待下一次")
    return tr("waiting for the first round", "等待第一轮")
