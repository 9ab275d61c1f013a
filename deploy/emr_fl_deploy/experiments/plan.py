"""What is to be run in a folder: the experiment, the settings under it, the data; noted in `OUT/experiment.json` before anything
runs, so that the same command continues what another one would spoil."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_fl_deploy.experiments.catalogue import Configuration, Experiment, load_experiment
from emr_fl_deploy.run_folder import RESULTS, RUNS, finished
from emr_fl_deploy.simulate.sample import SAMPLE_RECORDS, SAMPLE_SITES, Sample
from emr_fl_shared.config import parse_assignments, settings_from
from emr_fl_shared.config.loading import ENVIRONMENT, differences, environment_assignments, merge, read_toml
from emr_fl_shared.config.problems import Origin
from emr_fl_shared.config.settings import TINY
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import DataError, SettingsError, UsageError
from emr_fl_shared.locks import RUN_LOCK
from emr_fl_shared.messages import tr

PLAN = "experiment.json"
SCHEMA = 1
FEDERATION = "federation.toml"


@dataclass(frozen=True)
class Asked:
    """What the command line asked for."""

    name: str
    seeds: int = 5
    out: Path | None = None
    data: Path | None = None
    config: Path | None = None
    assignments: tuple[str, ...] = ()
    rounds: int | None = None
    sites: int | None = None
    records: int | None = None
    bert: str | None = None
    only: tuple[str, ...] = ()
    jobs: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One run: a configuration, a seed and, where sites train alone, the site."""

    configuration: str
    seed: int
    site: str = ""

    @property
    def name(self) -> str:
        """As progress lines name it."""
        return " ".join(part for part in (self.configuration, self.site, f"seed {self.seed}") if part)

    def folder(self, out: Path) -> Path:
        """Its run folder."""
        return out / "runs" / self.configuration / self.site / f"seed-{self.seed}"

    def beside(self, out: Path, folder: str, suffix: str) -> Path:
        """Its file of a kind, outside the run folder."""
        return out / folder / self.configuration / self.site / f"seed-{self.seed}{suffix}"

    def done(self, out: Path) -> bool:
        """Whether its run is finished."""
        return finished(self.folder(out))


@dataclass(frozen=True)
class Plan:
    """An experiment on data under settings. `settings`: what is laid under every configuration's own; `data` absolute, or
    `None` for the sample federation of `sites` and `records`, made anew for each seed."""

    experiment: Experiment
    settings: dict[str, Any] = field(default_factory=dict)
    data: str | None = None
    sites: int = SAMPLE_SITES
    records: int = SAMPLE_RECORDS
    bert: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data; two plans are the same experiment where these are equal."""
        sample = {"sites": self.sites, "records": self.records} if self.data is None else None
        return {
            "experiment": self.experiment.model_dump(mode="json"),
            "settings": self.settings,
            "data": self.data,
            "sample": sample,
            "bert": self.bert,
        }

    @property
    def first_seed(self) -> int:
        """The seeds of the runs count from here: `seed` of the settings."""
        return int(self.settings.get("seed", 0))

    def runnable(self, only: Sequence[str] = ()) -> list[Configuration]:
        """The configurations that can be run, of those in `only` where it names any."""
        return [
            configuration
            for configuration in self.experiment.configuration
            if self.reason_not_run(configuration) is None and (not only or configuration.id in only)
        ]

    def reason_not_run(self, configuration: Configuration) -> dict[str, str] | None:
        """Why a row has nothing to run, in both languages; `None` where it has."""
        if configuration.not_run is not None:
            return configuration.not_run.model_dump()
        if configuration.needs == "bert" and self.bert is None:
            return {
                "en": "no encoder was named: --bert FOLDER or a hub name",
                "zh": "未指定编码器：--bert 目录或模型名",
            }
        return None

    def data_folder(self, out: Path, seed: int) -> Path:
        """Where the data of this seed are."""
        return Path(self.data) if self.data is not None else out / "data" / f"seed-{seed}"

    def prepare_data(self, out: Path, seed: int) -> None:
        """Make the sample federation of this seed, unless it is there. Whole or not there, whenever it is stopped."""
        if self.data is None:
            folder = self.data_folder(out, seed)
            folder.mkdir(parents=True, exist_ok=True)
            Sample(self.sites, self.records, seed, {}).make(folder)

    def federation(self, out: Path, seed: int) -> Path:
        """The folder with the `federation.toml` of this seed."""
        folder = self.data_folder(out, seed)
        return folder if self.data is not None else folder / "data"

    def site_names(self, out: Path) -> list[str]:
        """The sites that the data name; of the sample, once its first seed was made."""
        tree = read_toml(self.federation(out, self.first_seed) / FEDERATION)
        return sorted(merge(tree, self.settings).get("sites", {}))

    def cells(self, out: Path, seeds: int, only: Sequence[str] = ()) -> list[Cell]:
        """All cells, seed by seed, so that a table that is not finished has every row. Side by side, the order turns with
        every seed: what slows the machine for a while does not always meet the same row."""
        configurations = self.runnable(only)
        alone = any(configuration.alone for configuration in configurations)
        names = self.site_names(out) if alone else []
        found = []
        for number in range(seeds):
            turn = number % len(configurations) if self.experiment.side_by_side and configurations else 0
            for configuration in (*configurations[turn:], *configurations[:turn]):
                sites = names if configuration.alone else [""]
                found += [Cell(configuration.id, self.first_seed + number, site) for site in sites]
        return found

    def cell_settings(self, configuration: Configuration, names: Sequence[str]) -> dict[str, Any]:
        """The settings of this row's runs, to be laid over the data's; `names`: its sites."""
        tree = merge(self.settings, configuration.settings)
        if configuration.needs == "bert":
            tree = merge(tree, {"model": {"name": self.bert}})
        if configuration.policy:
            tree = merge(tree, {"sites": {name: {"policy": configuration.policy} for name in names}})
        if configuration.alone:
            tree = merge(tree, {"federation": {"min_sites": 1}})
        return tree


def make_plan(asked: Asked) -> Plan:
    """The plan of a command line, every configuration's settings checked.

    Raises:
        UsageError: no such experiment or configuration, options that exclude each other, numbers out of range.
        SettingsError: settings that are not valid, with the configuration that they belong to.
    """
    experiment = load_experiment(asked.name)
    _check(asked, experiment)
    federation: dict[str, Any] = {}
    if asked.data is not None:
        if not (asked.data / FEDERATION).is_file():
            raise SettingsError(
                tr("no federation.toml in the data folder", "数据目录中没有 federation.toml"),
                where=str(asked.data),
                do=tr("docs/data.md shows a small one", "docs/data.md 中有一个小示例"),
            )
        federation = read_toml(asked.data / FEDERATION)
    given = read_toml(asked.config) if asked.config is not None else {}
    if given.get("sites") and asked.data is None:
        raise UsageError(
            tr("sites belong to the data", "机构属于数据设置"),
            where=str(asked.config),
            do=tr("give their folder with --data DIR", "请用 --data DIR 给出数据目录"),
        )
    assigned = parse_assignments(asked.assignments)
    environment = environment_assignments(merge(merge(federation, given), assigned))
    over: list[Origin] = [(str(asked.config), given), (ENVIRONMENT, environment), ("--set", assigned)]
    if asked.rounds is not None:
        over.append(("--rounds", {"federation": {"rounds": asked.rounds}}))
    settings = experiment.settings
    for _, layer in over:
        settings = merge(settings, layer)
    plan = Plan(
        experiment,
        settings,
        str(asked.data.resolve()) if asked.data is not None else None,
        asked.sites if asked.sites is not None else SAMPLE_SITES,
        asked.records if asked.records is not None else SAMPLE_RECORDS,
        asked.bert,
    )
    if plan.data is None:
        Sample(plan.sites, plan.records, 0, {}).check()
    origins = [*reversed(over), (str(asked.data / FEDERATION) if asked.data else asked.name, {})]
    problems = []
    for configuration in plan.runnable(asked.only):
        own = plan.cell_settings(configuration, sorted(federation.get("sites", {})))
        try:
            settings_from(
                merge(federation, own),
                where=origins[-1][0],
                over=[(f"{asked.name}: {configuration.id}", configuration.settings), *origins[:-1]],
            )
        except SettingsError as error:
            problems += error.problems
    if problems:
        once = {problem.render(): problem for problem in problems}
        raise SettingsError(list(once.values()))
    return plan


def _check(asked: Asked, experiment: Experiment) -> None:
    known = [configuration.id for configuration in experiment.configuration]
    if unknown := [name for name in asked.only if name not in known]:
        raise UsageError(
            tr("no such configuration", "没有这个配置"),
            where="--only",
            got=", ".join(unknown),
            expected=", ".join(known),
        )
    for option, value in (("--seeds", asked.seeds), ("--jobs", asked.jobs)):
        if value is not None and value < 1:
            raise UsageError(tr("at least one", "至少为 1"), where=option, got=str(value))
    if experiment.side_by_side and (asked.jobs or 1) > 1:
        raise UsageError(
            tr("times are compared: one run at a time", "该实验比较耗时，每次只能运行一个"),
            where="--jobs",
            got=str(asked.jobs),
            expected="1",
        )
    if asked.data is not None and (asked.sites is not None or asked.records is not None):
        raise UsageError(
            tr(
                "--sites and --records belong to the sample federation", "--sites 与 --records 只用于样例联邦"
            ),
            where="--data",
        )


def choose_folder(asked: Asked, plan: Plan) -> Path:
    """`--out`; without it the newest unfinished `runs/NAME-…` of the same plan, so that the same command continues, or a new one."""
    if asked.out is not None:
        return asked.out
    name = plan.experiment.name
    for note in sorted(RUNS.glob(f"{name}-*/{PLAN}"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            noted = json.loads(note.read_bytes())
            complete = json.loads((note.parent / RESULTS).read_bytes())["complete"]
        except FileNotFoundError:
            complete = False
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not complete and noted.get("plan") == plan.as_json():
            return note.parent
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def check_folder(out: Path, plan: Plan) -> int:
    """How many seeds the table in `out` has by now; 0 for a folder that is not there or empty. Nothing is written.

    Raises `UsageError` for a folder with anything else in it, `SettingsError` for one with another experiment or other
    settings, `DataError` for a note that can't be read.
    """
    if (out / PLAN).is_file():
        noted = _read(out / PLAN)
        if noted["plan"] != plan.as_json():
            raise SettingsError(
                tr(
                    "the folder holds another experiment, or other settings or data",
                    "该目录属于另一实验，或设置、数据不同",
                ),
                where=str(out),
                got=", ".join(differences(noted["plan"], plan.as_json())),
                do=tr("choose another --out", "请换一个 --out"),
            )
        return int(noted["seeds"])
    if out.exists() and (not out.is_dir() or any(item.name != RUN_LOCK for item in out.iterdir())):
        raise UsageError(
            tr("the folder is not empty and holds no experiment", "目录非空，且不是实验目录"),
            where=str(out),
            do=tr("choose another --out", "请换一个 --out"),
        )
    return 0


def take_folder(out: Path, plan: Plan, seeds: int) -> int:
    """Note the plan in `out`; returns how many seeds its table has now. Raises as `check_folder`."""
    seeds = max(seeds, check_folder(out, plan))
    note = {"schema": SCHEMA, "plan": plan.as_json(), "seeds": seeds}
    write_durably(out / PLAN, [json.dumps(note, ensure_ascii=False, indent=2).encode()])
    return seeds


def read_plan(out: Path) -> Plan:
    """The plan that `take_folder` noted. Raises `DataError` where there is none that can be read."""
    noted = _read(out / PLAN)["plan"]
    sample: Mapping[str, int] = noted["sample"] or {}
    return Plan(
        Experiment.model_validate(noted["experiment"]),
        noted["settings"],
        noted["data"],
        bert=noted["bert"],
        **sample,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        noted = json.loads(path.read_bytes())
        if noted["schema"] != SCHEMA or not {"experiment", "settings", "data"} <= noted["plan"].keys():
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            tr("the note of the experiment can't be read", "实验的记录文件无法读取"),
            where=str(path),
            do=tr("choose another --out", "请换一个 --out"),
        ) from None
    return dict(noted)


def base_model(plan: Plan, out: Path) -> str:
    """The encoder that "encoder" stands for in the rows: `model.name` of the settings, as `simulate` takes it."""
    federation = plan.federation(out, plan.first_seed) / FEDERATION
    tree = merge(read_toml(federation) if federation.is_file() else {}, plan.settings)
    return str(tree.get("model", {}).get("name", TINY))
