"""`emr-fl simulate`: from the command line to a run folder, and the table at the end."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emr_fl_shared.config import Settings, parse_assignments, settings_from, write_settings
from emr_fl_shared.config.loading import differences, environment_assignments, merge, read_toml
from emr_fl_shared.config.settings import TINY
from emr_fl_shared.errors import DataError, Interrupted, SettingsError, StorageError, UsageError
from emr_fl_shared.messages import tr

ENGINES = ("local", "ray")
SAMPLE_SITES, SAMPLE_RECORDS = 4, 6000
SAMPLE_MARK = "sample.json"


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


def simulate(request: Request) -> dict[str, Any]:
    """Run or continue a simulated federation; prints the table and returns the results."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps a compiled kernel for every shape that it met, by default 1024 of them: 100 MB and more per site
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check(request)
    folder, settings, sample = _prepare_folder(request)
    _check_sites(settings)

    from emr_fl_deploy.simulate.run import Machine, Simulation
    from emr_fl_server.console import RunConsole
    from emr_fl_server.report.summary import summary

    if request.engine == "ray":
        from emr_fl_deploy.simulate.ray_engine import require_ray

        require_ray()
    try:
        with RunConsole() as console:
            machine = Machine(request.engine, request.gpus, request.cpus)
            simulation = Simulation(settings, folder, machine, console, sample_data=sample)
            results = simulation.run(with_baselines=request.baselines)
    except KeyboardInterrupt:
        raise Interrupted(
            tr("interrupted; complete rounds are kept", "已中断；已完成的轮次均已保存"),
            where=str(folder),
            do=f"emr-fl simulate --resume --out {folder}",
        ) from None
    print(summary(results, folder))
    return results


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
    if request.gpus < 0:
        raise UsageError(tr("not a number of GPUs", "GPU 数不合法"), where="--gpus", got=str(request.gpus))


def _prepare_folder(request: Request) -> tuple[Path, Settings, bool]:
    """The run folder with its `settings.toml`, the settings with absolute paths, and whether the data are ours."""
    if request.resume:
        return _resumed(request)
    tree, base = _settings_tree(request)
    settings = settings_from(tree, where=_where(request))
    folder = request.out or Path("runs") / f"{settings.federation.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            tr("the run folder is not empty", "运行目录非空"),
            where=str(folder),
            do=tr("choose another --out, or continue it with --resume", "请换一个 --out，或用 --resume 继续"),
        )
    _make(folder)
    if base is None:
        base = _sample(request, folder, settings)
        tree = merge(read_toml(base / "federation.toml"), tree)
        settings = settings_from(tree, where=str(base / "federation.toml"))
    settings = settings.with_paths_from(base.resolve()).resolved()
    _check_count(settings)
    _check_sources(settings)
    write_settings(settings, folder / "settings.toml")
    return folder, settings, _made_by_us(settings)


def _resumed(request: Request) -> tuple[Path, Settings, bool]:
    folder = request.out or _newest_unfinished()
    path = folder / "settings.toml"
    if not path.is_file():
        raise UsageError(
            tr("there is no run to continue", "没有可继续的运行"),
            where=str(folder),
            expected="settings.toml",
            do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
        )
    settings = settings_from(read_toml(path), where=str(path))
    if (
        request.config
        or request.data
        or request.assignments
        or request.rounds is not None
        or request.seed is not None
    ):
        tree, base = _settings_tree(request)
        if base is None:
            base = folder / "data"
            tree = merge(read_toml(base / "federation.toml"), tree)
        asked = settings_from(tree, where=_where(request)).with_paths_from(base.resolve()).resolved()
        if asked != settings:
            raise SettingsError(
                tr("a run continues with its own settings only", "运行只能按原设置继续"),
                where=str(path),
                got=", ".join(differences(settings.as_toml_dict(), asked.as_toml_dict())),
                do=tr("leave the settings out, or start a new run", "请去掉这些设置，或开始新的运行"),
            )
    _check_sources(settings)
    return folder, settings, _made_by_us(settings)


def _settings_tree(request: Request) -> tuple[dict[str, Any], Path | None]:
    """Settings as plain data, and the folder that their paths are relative to (`None`: the sample is still to make)."""
    tree: dict[str, Any] = {}
    base: Path | None = None
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
        tree, base = read_toml(file), request.data
    if request.config is not None:
        given = read_toml(request.config)
        if base is None and given.get("sites"):
            base = request.config.parent
        tree = merge(tree, given)
    tree = merge(tree, environment_assignments())
    tree = merge(tree, parse_assignments(request.assignments))
    if request.rounds is not None:
        tree = merge(tree, {"federation": {"rounds": request.rounds}})
    if request.seed is not None:
        tree = merge(tree, {"seed": request.seed})
    if "name" not in tree.get("model", {}):
        tree = merge(tree, {"model": {"name": TINY}})
    return tree, base


def _sample(request: Request, folder: Path, settings: Settings) -> Path:
    from emr_fl_deploy.corpus import synthesise

    sites = request.sites if request.sites is not None else SAMPLE_SITES
    records = request.records if request.records is not None else SAMPLE_RECORDS
    print(
        tr(
            f"making the sample federation: {sites} sites, {records} training records, seed {settings.seed} …",
            f"正在生成样例联邦：{sites} 家机构，{records} 条训练记录，种子 {settings.seed} …",
        ),
        file=sys.stderr,
    )
    synthesise(folder / "data", sites=sites, records=records, seed=settings.seed)
    return folder / "data"


def _made_by_us(settings: Settings) -> bool:
    from emr_fl_server.coordinator import is_sample

    return is_sample(settings)


def _check_count(settings: Settings) -> None:
    needed = settings.federation.min_sites
    if len(settings.sites) < needed:
        raise SettingsError(
            tr("too few sites for a federation", "机构数不足以组成联邦"),
            where="sites",
            got=str(len(settings.sites)),
            expected=f">= {needed} (federation.min_sites)",
            do=tr("add [sites.NAME] blocks with a source", "请添加带 source 的 [sites.NAME] 段"),
        )


def _check_sources(settings: Settings) -> None:
    sets = settings.evaluation.sets
    places = {f"sites.{name}.source": site.source for name, site in settings.sites.items()}
    places |= {f"evaluation.sets.{name}": path for name, path in sets if path}
    if not sets.standard:
        raise SettingsError(
            tr("there is no held-out set to score", "缺少留出的标准测试集"),
            where="evaluation.sets.standard",
            do=tr('add [evaluation.sets] standard = "FILE"', '请添加 [evaluation.sets] standard = "文件"'),
        )
    for place, path in places.items():
        if not Path(path).is_file():
            raise DataError(tr("no such file", "没有这个文件"), where=place, got=path)


def _check_sites(settings: Settings) -> None:
    """Read every file once before anything is started, so that a bad one is said at once and not after minutes."""
    from emr_fl_shared.sources import read_records

    for site in settings.sites.values():
        read_records(Path(site.source), site.columns)
    for _, path in settings.evaluation.sets:
        if path:
            read_records(Path(path), settings.evaluation.columns)


def _newest_unfinished() -> Path:
    found = sorted(Path("runs").glob("*/settings.toml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(
            tr("there is no run to continue", "没有可继续的运行"),
            where="runs/",
            do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
        )
    return found[-1].parent


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            tr("the run folder can't be made", "运行目录无法创建"),
            where=str(folder),
            got=error.strerror or "",
        ) from None


def _where(request: Request) -> str:
    if request.data is not None:
        return str(request.data / "federation.toml")
    return str(request.config) if request.config else ""
