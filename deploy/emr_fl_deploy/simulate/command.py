"""`emr-fl simulate`: from the command line to a run folder, and the table at the end."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emr_fl_deploy.run_folder import (
    RESULTS,
    RUNS,
    SETTINGS,
    begun,
    check_empty,
    check_same,
    finished,
    nothing_to_continue,
    other_settings,
)
from emr_fl_deploy.simulate.preflight import (
    check_count,
    check_device,
    check_gpus,
    check_labels,
    check_model,
    check_sources,
    read_all,
)
from emr_fl_deploy.simulate.sample import DATA, SAMPLE_MARK, SAMPLE_RECORDS, SAMPLE_SITES, Sample, read_sample
from emr_fl_shared.config import Settings, parse_assignments, settings_from, write_settings
from emr_fl_shared.config.loading import ENVIRONMENT, differences, environment_assignments, merge, read_toml
from emr_fl_shared.config.problems import Origin
from emr_fl_shared.config.settings import TINY
from emr_fl_shared.errors import Interrupted, SettingsError, StorageError, UsageError
from emr_fl_shared.locks import RUN_LOCK, only_one
from emr_fl_shared.messages import tr

ENGINES = ("local", "ray")
LEFT_OVER = (RUN_LOCK,)
"""What a run that came no further may leave."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    config: Path | None = None
    data: Path | None = None
    sites: int | None = None
    records: int | None = None
    rounds: int | None = None
    seed: int | None = None
    out: Path | None = None
    assignments: tuple[str, ...] = ()
    resume: bool = False
    engine: str = "local"
    baselines: bool = True
    gpus: float = 0.0
    cpus: int = 1
    only: tuple[str, ...] = ()
    """Sites of `data` that take part; empty: all."""


def simulate(request: Request) -> dict[str, Any]:
    """Run or continue a simulated federation; prints the table and returns the results."""
    _quiet_libraries()
    _check(request)
    with ExitStack() as held:
        return _simulate(request, *_prepare_folder(request, held))


def pooled_tfidf(request: Request, *, balanced: bool) -> dict[str, Any]:
    """In the place of a federation: TF-IDF on the pooled text of all sites, scored on the same sets but the attacked ones.

    Leaves `settings.toml` and `results.json`, and returns the results. One that was stopped is begun anew with `resume`.
    """
    _quiet_libraries()
    _check(request)
    with ExitStack() as held:
        folder, settings, _ = _prepare_folder(request, held)
        from emr_fl_deploy.simulate.baselines import run_pooled

        return run_pooled(settings, folder, balanced=balanced)


def _quiet_libraries() -> None:
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps a compiled kernel for every shape that it met, by default 1024 of them: 100 MB and more per site
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _simulate(request: Request, folder: Path, settings: Settings, warnings: list[str]) -> dict[str, Any]:
    from emr_fl_deploy.simulate.run import Machine, Simulation
    from emr_fl_server.console import RunConsole
    from emr_fl_server.coordinator import is_sample
    from emr_fl_server.report.summary import summary

    if request.engine == "ray":
        from emr_fl_deploy.simulate.ray_engine import require_ray

        require_ray()
    try:
        with RunConsole() as console:
            for warning in warnings:
                console.warn(warning, warning)
            machine = Machine(request.engine, request.gpus, request.cpus)
            simulation = Simulation(settings, folder, machine, console, sample_data=is_sample(settings))
            results = simulation.run(with_baselines=request.baselines)
    except KeyboardInterrupt:
        message = tr("interrupted; complete rounds are kept", "已中断；已完成的轮次均已保存")
        raise _interrupted(folder, message) from None
    print(summary(results, folder))
    return results


def _interrupted(folder: Path, message: str) -> Interrupted:
    # quoted, as the line is made to be copied
    return Interrupted(
        message, where=str(folder), do=f"emr-fl simulate --resume --out {shlex.quote(str(folder))}"
    )


def _check(request: Request) -> None:
    if request.engine not in ENGINES:
        raise UsageError(
            tr("unknown engine", "未知的引擎"),
            where="--engine",
            got=request.engine,
            expected=" | ".join(ENGINES),
        )
    if request.data is not None and (request.sites is not None or request.records is not None):
        raise UsageError(
            tr(
                "--sites and --records belong to the sample federation", "--sites 与 --records 只用于样例联邦"
            ),
            where="--data",
            do=tr("leave them out, or leave out --data", "请去掉它们，或去掉 --data"),
        )
    if request.cpus < 1:
        raise UsageError(tr("at least one CPU thread per site", "每机构至少一个 CPU 线程"), where="--cpus")
    if not (math.isfinite(request.gpus) and request.gpus >= 0):
        raise UsageError(tr("not a number of GPUs", "GPU 数不合法"), where="--gpus", got=str(request.gpus))
    check_gpus(request.gpus)


def _prepare_folder(request: Request, held: ExitStack | None = None) -> tuple[Path, Settings, list[str]]:
    """The run folder with its `settings.toml`, the settings with absolute paths, and warnings about the data.

    Whatever can be refused is refused before the folder is made. The folder's lock is entered into `held`; without it, it is
    given up on return.
    """
    with ExitStack() as mine:
        held = held or mine
        return _resumed(request, held) if request.resume else _made(request, held)


def _made(request: Request, held: ExitStack) -> tuple[Path, Settings, list[str]]:
    asked = _settings_tree(request)
    settings = settings_from(asked.tree, where=asked.where, over=asked.over)
    folder = request.out or RUNS / f"{settings.federation.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    check_empty(folder, besides=LEFT_OVER)
    if asked.base is None:
        sample = Sample(
            request.sites if request.sites is not None else SAMPLE_SITES,
            request.records if request.records is not None else SAMPLE_RECORDS,
            settings.seed,
            asked.tree,
        )
        sample.check()
        check_count(settings, sample.sites)
        _check_means(settings.with_paths_from((folder / DATA).absolute()), request)
        _make(folder, held)
        return _with_sample(folder, sample, request)
    settings = settings.with_paths_from(asked.base.resolve()).resolved()
    warnings = _checked(settings, request)
    _make(folder, held)
    write_settings(settings, folder / SETTINGS)
    return folder, settings, warnings


def _with_sample(folder: Path, sample: Sample, request: Request) -> tuple[Path, Settings, list[str]]:
    try:
        base = sample.make(folder)
    except KeyboardInterrupt:
        raise _interrupted(folder, tr("interrupted", "已中断")) from None
    file = base / "federation.toml"
    settings = settings_from(merge(read_toml(file), sample.settings), where=str(file))
    settings = settings.with_paths_from(base.resolve()).resolved()
    warnings = _checked(settings, request)
    write_settings(settings, folder / SETTINGS)
    return folder, settings, warnings


def _checked(settings: Settings, request: Request) -> list[str]:
    check_count(settings, len(settings.sites))
    check_sources(settings)
    _check_means(settings, request)
    return read_all(settings)


def _check_means(settings: Settings, request: Request) -> None:
    """What can be refused without the data, the quickest first."""
    check_labels(settings)
    check_device(settings, request.gpus)
    check_model(settings)


def _resumed(request: Request, held: ExitStack) -> tuple[Path, Settings, list[str]]:
    folder = request.out or _newest()
    path = folder / SETTINGS
    sample = read_sample(folder)
    if not path.is_file() and sample is None:
        raise nothing_to_continue(folder)
    _lock(folder, held)
    for option, wanted, made in (
        ("--sites", request.sites, sample and sample.sites),
        ("--records", request.records, sample and sample.records),
    ):
        if wanted is not None and wanted != made:
            raise other_settings(folder, option)
    if not path.is_file():
        assert sample is not None
        asked = _settings_tree(request)
        layers = [tree for _, tree in asked.over] if asked.base is None else [asked.tree]
        if any(merge(sample.settings, tree) != sample.settings for tree in layers):
            raise other_settings(folder, *differences(sample.settings, asked.tree))
        return _with_sample(folder, sample, request)
    settings = settings_from(read_toml(path), where=str(path))
    asked = _settings_tree(request, settings.as_toml_dict())
    if request.config or request.data:
        tree, base = asked.tree, asked.base
        if base is None:
            base = folder / "data"
            tree = merge(read_toml(base / "federation.toml"), tree)
    else:
        # what is given beside --resume is laid over the run's own settings: only what differs is refused
        tree, base = settings.as_toml_dict(), folder
        for _, layer in reversed(asked.over):
            tree = merge(tree, layer)
    given = settings_from(tree, where=asked.where, over=asked.over)
    given = given.with_paths_from(base.resolve()).resolved()
    check_same(settings, given, folder)
    return folder, settings, _checked(settings, request)


@dataclass(frozen=True)
class _Asked:
    """Settings as plain data, the folder that their paths are relative to (`None`: the sample is still to make), the file
    that they come from, and what was laid over it, strongest first."""

    tree: dict[str, Any]
    base: Path | None
    where: str
    over: tuple[Origin, ...]


def _settings_tree(request: Request, own: Mapping[str, Any] | None = None) -> _Asked:
    """What was asked for; `own`: settings of the run that is continued, over which it will be laid."""
    tree: dict[str, Any] = {}
    base: Path | None = None
    where = ""
    over: list[Origin] = []
    if request.data is not None:
        file = request.data / "federation.toml"
        if not request.data.is_dir() or not file.is_file():
            raise SettingsError(
                tr("no federation.toml in the data folder", "数据目录中没有 federation.toml"),
                where=str(request.data),
                do=tr(
                    "emr-fl data synth --out DIR makes an example", "emr-fl data synth --out DIR 可生成示例"
                ),
            )
        tree, base, where = read_toml(file), request.data, str(file)
        if request.only:
            chosen = {name: site for name, site in _section(tree, "sites").items() if name in request.only}
            tree = {**tree, "sites": chosen}
    if request.config is not None:
        given = read_toml(request.config)
        if base is None and given.get("sites"):
            base = request.config.parent
        tree = merge(tree, given)
        over.append((str(request.config), given))
    assigned = parse_assignments(request.assignments)
    over.append((ENVIRONMENT, environment_assignments(merge(merge(own or {}, tree), assigned))))
    over.append(("--set", assigned))
    if request.rounds is not None:
        over.append(("--rounds", {"federation": {"rounds": request.rounds}}))
    if request.seed is not None:
        over.append(("--seed", {"seed": request.seed}))
    for _, layer in over:
        tree = merge(tree, layer)
    if "name" not in _section(tree, "model"):
        tree = merge(tree, {"model": {"name": TINY}})
    return _Asked(tree, base, where, tuple(reversed(over)))


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = tree.get(name, {})
    return section if isinstance(section, Mapping) else {}


def _newest() -> Path:
    """The run under `runs/` that was begun last and is not finished: it has no results yet, or not the baselines beside them."""
    runs = begun(SETTINGS, SAMPLE_MARK)
    unfinished = [folder for folder in runs if not finished(folder)]
    if unfinished:
        return unfinished[-1]
    raise UsageError(
        tr("all runs are finished", "所有运行均已完成")
        if runs
        else tr("there is no run to continue", "没有可继续的运行"),
        where="runs/",
        expected=tr(f"a run without {RESULTS} or without its baselines", f"没有 {RESULTS} 或基线未完成的运行")
        if runs
        else "",
        do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
    )


def _make(folder: Path, held: ExitStack) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            tr("the run folder can't be made", "运行目录无法创建"),
            where=str(folder),
            got=error.strerror or "",
        ) from None
    _lock(folder, held)
    check_empty(folder, besides=LEFT_OVER)  # another run may have begun and ended here meanwhile


def _lock(folder: Path, held: ExitStack) -> None:
    message = tr("a run is at work in this folder already", "该运行目录正被另一个运行使用")
    do = tr("wait until it is done, or choose another --out", "请等它结束，或换一个 --out")
    held.enter_context(only_one(folder / RUN_LOCK, message, do=do))
