"""`emr-fl experiment`: what there is, and running one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from emr_fl_deploy import options
from emr_fl_shared.messages import tr


def register(app: typer.Typer) -> None:
    """Add `experiment` with its commands, help in the language in force."""
    experiment = typer.Typer(
        no_args_is_help=True, help=tr("The paper's tables and others like them.", "论文各表及同类实验。")
    )
    app.add_typer(experiment, name="experiment")
    _list(experiment)
    _run(experiment)
    _cell(experiment)


def _list(experiment: typer.Typer) -> None:
    @experiment.command(
        "list", help=tr("The experiments, what each answers and costs.", "列出实验、其回答的问题与成本。")
    )
    def list_(
        seeds: Annotated[
            int, typer.Option(help=tr("seeds that the cost is for", "按多少个种子估算成本"), min=1)
        ] = 5,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        list_experiments(seeds, as_json=json)


def _run(experiment: typer.Typer) -> None:
    @experiment.command(
        help=tr(
            "Run an experiment, or continue it: the same command goes on where it was stopped.",
            "运行实验，或从中断处继续：重复同一条命令即可。",
        )
    )
    def run(
        name: Annotated[
            str,
            typer.Argument(
                help=tr(
                    "of `emr-fl experiment list`, or a file NAME.toml",
                    "见 `emr-fl experiment list`，或文件 NAME.toml",
                )
            ),
        ],
        seeds: Annotated[int, typer.Option(help=tr("runs of each configuration", "每个配置的运行次数"))] = 5,
        out: Annotated[
            Path | None,
            typer.Option(
                help=tr(
                    "folder (runs/NAME-TIME, or the unfinished one)", "目录（runs/NAME-TIME，或未完成的那个）"
                )
            ),
        ] = None,
        data: Annotated[Path | None, options.data_folder()] = None,
        config: Annotated[Path | None, options.settings_file()] = None,
        assign: Annotated[list[str] | None, options.assignments()] = None,
        rounds: Annotated[int | None, options.number_of_rounds()] = None,
        only: Annotated[
            list[str] | None, typer.Option(help=tr("these configurations only", "只运行这些配置"))
        ] = None,
        jobs: Annotated[
            int | None,
            typer.Option(help=tr("runs at a time (by cores and memory)", "同时运行数（按核数与内存）")),
        ] = None,
        sites: Annotated[int | None, options.sample_sites()] = None,
        records: Annotated[int | None, options.sample_records()] = None,
        bert: Annotated[
            str | None, typer.Option(help=tr("encoder of the BERT-base row", "BERT-base 一行的编码器"))
        ] = None,
        gpus: Annotated[float, options.gpus_per_site()] = 0.0,
    ) -> None:
        from emr_fl_deploy.experiments.plan import Asked

        run_experiment(
            Asked(
                name=name,
                seeds=seeds,
                out=out,
                data=data,
                config=config,
                assignments=tuple(assign or ()),
                rounds=rounds,
                sites=sites,
                records=records,
                bert=bert,
                only=tuple(only or ()),
                jobs=jobs,
                gpus=gpus,
            )
        )


def _cell(experiment: typer.Typer) -> None:
    @experiment.command(hidden=True, help=tr("One run of an experiment.", "实验中的一个运行。"))
    def cell(
        out: Path,
        configuration: str,
        seed: int,
        site: Annotated[str, typer.Option()] = "",
        gpus: Annotated[float, typer.Option()] = 0.0,
        cores: Annotated[str, typer.Option()] = "",
    ) -> None:
        from emr_fl_deploy.experiments.cell import run_cell
        from emr_fl_deploy.experiments.plan import Cell

        numbers = [int(core) for core in cores.split(",") if core]
        run_cell(out, Cell(configuration, seed, site), gpus=gpus, cores=numbers)


def list_experiments(seeds: int, *, as_json: bool) -> None:
    """Print every built-in experiment."""
    from emr_fl_deploy.experiments.catalogue import known_experiments, load_experiment
    from emr_fl_deploy.experiments.plan import Plan
    from emr_fl_deploy.experiments.tables import said

    found: list[dict[str, Any]] = []
    for name in known_experiments():
        experiment = load_experiment(name)
        plan = Plan(experiment)
        rows = plan.runnable()
        runs = [(row, seeds * (plan.sites if row.alone else 1)) for row in rows]
        found.append(
            {
                "name": name,
                "title": said(experiment.title.model_dump()),
                "answers": said(experiment.question.model_dump()),
                "configurations": [row.id for row in experiment.configuration],
                "not_run": {
                    row.id: said(reason)
                    for row in experiment.configuration
                    if (reason := plan.reason_not_run(row)) is not None
                },
                "runs": sum(count for _, count in runs),
                "hours": round(sum(row.minutes * count for row, count in runs) / 60, 1),
            }
        )
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for entry in found:
        print(f"{entry['name']}: {entry['title']}")
        print(f"  {entry['answers']}")
        print(f"  {tr('configurations', '配置')}: {', '.join(entry['configurations'])}")
        for row, reason in entry["not_run"].items():
            print(f"    {row}: {reason}")
        print(
            tr(
                f"  {entry['runs']} runs with {seeds} seeds, about {entry['hours']:g} h (estimate: tiny, sample federation, two free cores)",
                f"  {seeds} 个种子共 {entry['runs']} 个运行，约 {entry['hours']:g} 小时（估计：tiny、样例联邦、两个空闲核）",
            )
        )
        print(f"  emr-fl experiment run {entry['name']}")


def run_experiment(asked: Any) -> dict[str, Any]:
    """Run or continue what was asked for (an `Asked`); returns the results.

    Raises `FederationError` at the end where a run failed, `Interrupted` on Ctrl-C; both leave the tables as far as they are.
    """
    from emr_fl_deploy.experiments.plan import Cell, check_folder, choose_folder, make_plan, take_folder
    from emr_fl_deploy.experiments.results import gather
    from emr_fl_deploy.experiments.running import Runner, default_jobs
    from emr_fl_deploy.experiments.tables import markdown
    from emr_fl_deploy.experiments.writing import write_results
    from emr_fl_deploy.simulate.preflight import check_gpus
    from emr_fl_shared.durable import storage_error
    from emr_fl_shared.errors import FederationError, Interrupted
    from emr_fl_shared.locks import RUN_LOCK, only_one

    plan = make_plan(asked)
    check_gpus(asked.gpus)
    out = choose_folder(asked, plan)
    check_folder(out, plan)
    with ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, out.parent) from None
        busy = tr("an experiment is at work in this folder already", "该目录正被另一个实验使用")
        held.enter_context(only_one(out / RUN_LOCK, busy))
        seeds = take_folder(out, plan, asked.seeds)
        print(
            tr(f"experiment {plan.experiment.name} in {out}", f"实验 {plan.experiment.name}，目录 {out}"),
            file=sys.stderr,
        )

        def write(failures: Mapping[Cell, str]) -> dict[str, Any]:
            results = gather(plan, out, seeds, failures)
            write_results(out, results)
            return results

        jobs = 1 if plan.experiment.side_by_side else asked.jobs or default_jobs(asked.gpus)
        runner = Runner(plan, out, jobs, asked.gpus, write)
        try:
            plan.prepare_data(out, plan.first_seed)
            runner.run(plan.cells(out, asked.seeds, asked.only))
        except KeyboardInterrupt:
            write(runner.failures)
            raise Interrupted(
                tr(
                    "interrupted; finished runs and complete rounds are kept",
                    "已中断；已完成的运行与轮次均已保存",
                ),
                where=str(out),
                do=tr("the same command with --out goes on: ", "加 --out 重复同一命令即可继续：")
                + f"--out {shlex.quote(str(out))}",
            ) from None
        results = write(runner.failures)
    print(markdown(results))
    print(f"{tr('page', '页面')}: {(out / 'index.html').resolve()}")
    if runner.failures:
        raise FederationError(
            tr(f"{len(runner.failures)} runs failed", f"{len(runner.failures)} 个运行失败"),
            where=str(out),
            got="; ".join(f"{cell.name}: {reason}" for cell, reason in runner.failures.items()),
            do=tr(
                "their logs are in logs/; the same command tries them again",
                "其日志在 logs/ 中；重复同一命令会再次尝试",
            ),
        )
    return results
