"""`emr-fl server start`: from settings to a guarded server in a run folder."""

from __future__ import annotations

import time
from pathlib import Path

from emr_fl_deploy.run_folder import (
    RUNS,
    SETTINGS,
    begun,
    check_empty,
    check_same,
    finished,
    nothing_to_continue,
)
from emr_fl_deploy.simulate.preflight import check_device, check_labels, check_model, check_sources
from emr_fl_shared.config import Settings, load_settings, parse_assignments, settings_from, write_settings
from emr_fl_shared.config.loading import ENVIRONMENT, environment_assignments, merge, read_toml
from emr_fl_shared.errors import UsageError
from emr_fl_shared.kit import read_server_kit
from emr_fl_shared.messages import tr

DEFAULT_KIT = Path("kits") / "server"


def start(
    config: Path | None,
    *,
    kit: Path | None,
    out: Path | None,
    resume: bool,
    host: str,
    port: int | None,
    assignments: tuple[str, ...],
    health: str | None,
    keep: bool = False,
) -> int:
    """Run a federation's server until it is done; returns the exit code.

    `keep` is what a service that is started again and again needs: `out` is begun, or continued where it was begun, and
    a finished run is reported and left as it is.
    """
    from emr_fl_server.superlink.supervisor import Server

    if keep:
        if config is None or out is None or resume:
            raise UsageError(
                tr(
                    "needs both --config and --out, and no --resume",
                    "须同时给出 --config 与 --out，且不加 --resume",
                ),
                where="--continue",
                do="emr-fl server start --continue --config F --out RUN",
            )
        if finished(out):
            print(
                tr(
                    f"the federation in {out} is finished; nothing to do",
                    f"{out} 中的联邦已完成；无需操作",
                ),
                flush=True,
            )
            return 0
        resume = (out / SETTINGS).is_file()
    server_kit = read_server_kit(kit or DEFAULT_KIT)
    folder = _folder(config, out, resume)
    settings = _settings(config, folder, resume, assignments)
    # sites that the file names for a simulation have their exports elsewhere
    own = settings.model_copy(update={"sites": {}})
    check_sources(own)
    check_labels(own)
    check_device(own)
    check_model(own)
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_settings(settings, folder / SETTINGS)
    return Server(server_kit, folder, host, port or server_kit.document.port, health).run()


def _folder(config: Path | None, out: Path | None, resume: bool) -> Path:
    if resume:
        folder = out or newest_run(unfinished=True)
        if not (folder / SETTINGS).is_file():
            raise nothing_to_continue(folder)
        if finished(folder):
            raise UsageError(
                tr("this run is finished", "该运行已完成"),
                where=str(folder),
                do=tr("its report is report.html; start another run", "报告见 report.html；请开始新的运行"),
            )
        return folder
    if config is None:
        raise UsageError(
            tr("which settings?", "缺少设置文件"), where="--config", do="emr-fl server start --config F"
        )
    folder = out or RUNS / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    check_empty(folder)
    return folder


def _settings(config: Path | None, folder: Path, resume: bool, assignments: tuple[str, ...]) -> Settings:
    overrides = parse_assignments(assignments)
    given = None
    if config is not None:
        given = load_settings(config, overrides=overrides).with_paths_from(config.resolve().parent).resolved()
    if not resume:
        assert given is not None
        return given
    path = folder / SETTINGS
    settings = settings_from(read_toml(path), where=str(path))
    if given is None:
        # what is given beside --resume is laid over the run's own settings: only what differs is refused
        own = settings.as_toml_dict()
        around = environment_assignments(own)
        tree = merge(merge(own, around), overrides)
        given = settings_from(tree, where=str(path), over=[("--set", overrides), (ENVIRONMENT, around)])
        given = given.with_paths_from(folder.resolve()).resolved()
    check_same(settings, given, path)
    return settings


def newest_run(*, unfinished: bool = False) -> Path:
    """The run folder under `runs/` that was written to last; with `unfinished`, of those that have no results yet."""
    runs = begun(SETTINGS)
    found = [folder for folder in runs if not (unfinished and finished(folder))]
    if not found:
        raise UsageError(
            tr("all runs are finished", "所有运行均已完成") if runs else tr("there is no run", "没有运行"),
            where="runs/",
            do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
        )
    return found[-1]
