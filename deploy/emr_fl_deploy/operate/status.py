"""`emr-fl server status` and `emr-fl server stop`, from another terminal."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emr_fl_deploy.run_folder import finished
from emr_fl_server.superlink.presence import read_json, read_presence
from emr_fl_server.superlink.status import FOLDER, SERVER_FILE, STOP_FILE, read_progress, site_states
from emr_fl_shared.errors import EmrFlError, UsageError
from emr_fl_shared.kit import read_server_kit
from emr_fl_shared.messages import tr


def gather(run: Path) -> dict[str, Any]:
    """Everything that `status` shows, as `--json` prints it."""
    if not run.is_dir():
        raise UsageError(
            tr("no such run folder", "没有这个运行目录"),
            where=str(run),
            do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
        )
    folder = run / FOLDER
    server = _server(folder)
    progress = read_progress(folder)
    data: dict[str, Any] = {
        "run": str(run),
        "running": server is not None,
        "server": server,
        **{key: value for key, value in asdict(progress).items() if key != "since"},
        "phase_s": time.time() - progress.since if progress.since else None,
        "left_s": (progress.rounds - progress.round + 1) * progress.seconds_per_round
        if progress.seconds_per_round and server is not None
        else None,
        "checkpoints": sorted(path.name for path in (run / "checkpoints").glob("round-*.safetensors")),
        "disk_free_mb": round(shutil.disk_usage(run).free / 2**20),
        "finished": finished(run),
        "sites": [],
        "warnings": [],
    }
    if server is not None:
        try:
            kit = read_server_kit(Path(server["kit"]))
            now = datetime.now(UTC)
            registry = kit.registry()
            standings: dict[str, tuple[str, int | None]] = {}
            for name in sorted({entry.name for entry in registry.entries}):
                entry = registry.entry_of(name)
                assert entry is not None
                standings[name] = (entry.validity_at(now), (entry.not_after - now).days)
            data["sites"] = [asdict(row) for row in site_states(progress, read_presence(folder), standings)]
            data["certificate_days"] = kit.days_left(now)
            if warning := kit.warning(now):
                data["warnings"].append(warning)
            data["warnings"] += [
                tr(
                    f"the kit of {name} expires in {days} days: emr-fl server renew {name}",
                    f"{name} 的套件将在 {days} 天后到期：emr-fl server renew {name}",
                )
                for name, (validity, days) in standings.items()
                if validity == "valid" and days is not None and days < 60
            ]
        except EmrFlError as error:
            data["warnings"].append(error.render())
    return data


def render(data: dict[str, Any]) -> str:
    """The same for a person."""
    state = (
        tr("running", "运行中")
        if data["running"]
        else tr("finished", "已完成")
        if data["finished"]
        else tr("not running", "未运行")
    )
    lines = [f"{data['run']}: {state}"]
    phases = {
        "starting": tr("starting", "启动中"),
        "waiting": tr("waiting for sites", "等待机构"),
        "training": tr("the sites train", "各机构训练中"),
        "evaluating": tr("aggregating and evaluating", "聚合与评估中"),
        "finished": tr("done", "完成"),
        "stopped": tr("stopped", "已停止"),
    }
    lines.append(
        tr(
            f"round {data['round']} of {data['rounds']}: {phases[data['phase']]}",
            f"第 {data['round']}/{data['rounds']} 轮：{phases[data['phase']]}",
        )
        + (f" ({_span(data['phase_s'])})" if data["phase_s"] and data["running"] else "")
        + (
            tr(f", about {_span(data['left_s'])} left", f"，约剩 {_span(data['left_s'])}")
            if data["left_s"]
            else ""
        )
    )
    if data["missing"]:
        lines.append(tr("missing: ", "尚缺：") + ", ".join(data["missing"]))
    if data["scores"]:
        scores = "  ".join(f"{name} {100 * value:.1f}" for name, value in data["scores"].items())
        lines.append(f"macro-F1 %: {scores}  ({tr('best round', '最佳轮次')}: {data['best_round']})")
    if data["sites"]:
        width = max(len(row["name"]) for row in data["sites"])
        lines.append("")
        for row in data["sites"]:
            ago = (
                tr(f"seen {_span(row['last_seen_s'])} ago", f"{_span(row['last_seen_s'])}前")
                if row["last_seen_s"] is not None
                else "–"
            )
            lines.append(
                f"  {row['name']:<{width}}  {row['state']:<12} {ago:<16} "
                f"↑ {row['bytes_up'] / 2**20:.1f} MB  ↓ {row['bytes_down'] / 2**20:.1f} MB  "
                + tr(f"kit {row['certificate_days']} d", f"套件 {row['certificate_days']} 天")
            )
        lines.append("")
    lines += [f"  {site}: {reason.splitlines()[0]}" for site, reason in data["refused"].items()]
    if data["note"]:
        lines.append(data["note"].splitlines()[0])
    lines.append(tr(f"disk: {data['disk_free_mb']} MB free", f"磁盘：剩余 {data['disk_free_mb']} MB"))
    lines += [f"{tr('warning', '警告')}: {text}" for text in data["warnings"]]
    return "\n".join(lines)


def stop(run: Path) -> str:
    """Ask a running server to stop after its round."""
    folder = run / FOLDER
    if _server(folder) is None:
        raise UsageError(
            tr("no server works in this run folder", "该运行目录中没有运行的服务器"), where=str(run)
        )
    (folder / STOP_FILE).touch()
    return tr("asked to stop after this round", "已请求在本轮结束后停止")


def as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)


def _server(folder: Path) -> dict[str, Any] | None:
    """What `server.json` says, if that process is alive."""
    server = read_json(folder / SERVER_FILE)
    pid = server.get("pid")
    # os.kill takes 0 and negative numbers for groups of processes
    if type(pid) is not int or pid <= 0 or not isinstance(server.get("kit"), str):
        return None
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return None
    return server


def _span(seconds: float) -> str:
    """`75` → `1 min`; one unit is enough here."""
    for size, unit in ((86400, tr("d", "天")), (3600, tr("h", "小时")), (60, tr("min", "分钟"))):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} {tr('s', '秒')}"
