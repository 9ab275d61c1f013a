"""The commands: what they take, in the language of the user. Each calls one function and prints what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from emr_fl_deploy import options
from emr_fl_deploy.data_check.command import register as register_data_check
from emr_fl_deploy.experiments.command import register as register_experiments
from emr_fl_deploy.operate.commands import register as register_operation
from emr_fl_deploy.provision.commands import register as register_kits
from emr_fl_shared.messages import language, tr


def build() -> Any:
    """The command tree, with help in the language in force."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help=tr(
            "Federated training of a robust Chinese outpatient-record classifier across hospitals.\n\n"
            "Everywhere: --lang zh|en chooses the language, --debug shows the traceback of an error.",
            "多家医院联合训练中文门诊病历分类模型，数据不出医院。\n\n"
            "所有命令通用：--lang zh|en 选择语言，--debug 显示错误的完整回溯。",
        ),
    )
    data = typer.Typer(no_args_is_help=True, help=tr("Hospital and sample data.", "医院数据与样例数据。"))
    app.add_typer(data, name="data")
    server = typer.Typer(
        no_args_is_help=True, help=tr("The coordinator of a real federation.", "真实联邦的协调方。")
    )
    client = typer.Typer(
        no_args_is_help=True, help=tr("A hospital in a real federation.", "真实联邦中的医院。")
    )
    app.add_typer(server, name="server")
    app.add_typer(client, name="client")
    register_kits(server, client)
    register_operation(server, client)
    _simulate(app)
    _synth(data)
    register_data_check(data)
    _deidentify(data)
    _evaluate(app)
    _predict(app)
    register_experiments(app)
    _report(app)
    _version(app)
    command = get_command(app)
    if language() == "zh":
        _title_in_chinese(command)
    return command


def _title_in_chinese(command: Any) -> None:
    """Panels of the help under Chinese titles, in the whole tree; Typer's own are English."""
    import click

    shown_by_help = command.get_help_option(click.Context(command))  # click makes it once and keeps it
    shown_by_help.help = "显示本帮助并退出。"
    parameters: list[Any] = [*command.params, shown_by_help]
    for parameter in parameters:
        panel = "参数" if isinstance(parameter, click.Argument) else "选项"
        setattr(parameter, "rich_help_panel", panel)  # noqa: B010  an attribute that only Typer's classes have
    for child in getattr(command, "commands", {}).values():
        child.rich_help_panel = "命令"
        _title_in_chinese(child)


def _simulate(app: typer.Typer) -> None:
    @app.command(
        help=tr(
            "Run the whole federation on this machine. Without --data it makes the embedded sample federation.",
            "在本机运行整个联邦。不给 --data 时使用内置的样例联邦。",
        )
    )
    def simulate(
        config: Annotated[Path | None, options.settings_file()] = None,
        data: Annotated[Path | None, options.data_folder()] = None,
        sites: Annotated[int | None, options.sample_sites()] = None,
        records: Annotated[int | None, options.sample_records()] = None,
        rounds: Annotated[int | None, options.number_of_rounds()] = None,
        seed: Annotated[int | None, typer.Option(help=tr("seed of everything random", "随机种子"))] = None,
        out: Annotated[
            Path | None, typer.Option(help=tr("run folder (runs/NAME-TIME)", "运行目录 (runs/NAME-TIME)"))
        ] = None,
        assign: Annotated[list[str] | None, options.assignments()] = None,
        resume: Annotated[
            bool,
            typer.Option(
                "--resume",
                help=tr(
                    "continue the run in --out, or the newest unfinished one",
                    "继续 --out 中的运行；未给出时继续最近未完成的运行",
                ),
            ),
        ] = False,
        engine: Annotated[
            str, typer.Option(help=tr("local (a process per site) or ray", "local（每机构一进程）或 ray"))
        ] = "local",
        baselines: Annotated[
            bool,
            typer.Option("--baselines/--no-baselines", help=tr("run the baselines beside", "同时运行基线")),
        ] = True,
        gpus: Annotated[float, options.gpus_per_site()] = 0.0,
        cpus: Annotated[int, typer.Option(help=tr("CPU threads per site", "每机构 CPU 线程数"))] = 1,
    ) -> None:
        from emr_fl_deploy.simulate.command import Request, simulate

        simulate(
            Request(
                config=config,
                data=data,
                sites=sites,
                records=records,
                rounds=rounds,
                seed=seed,
                out=out,
                assignments=tuple(assign or ()),
                resume=resume,
                engine=engine,
                baselines=baselines,
                gpus=gpus,
                cpus=cpus,
            )
        )


def _synth(data: typer.Typer) -> None:
    @data.command(help=tr("Write a sample federation to a folder.", "把样例联邦写入目录。"))
    def synth(
        out: Annotated[Path, typer.Option(help=tr("folder to make", "要创建的目录"))],
        sites: Annotated[int, typer.Option(help=tr("training sites", "参与训练的机构数"))] = 4,
        records: Annotated[int, typer.Option(help=tr("training records", "训练记录数"))] = 6000,
        seed: Annotated[int, typer.Option(help=tr("seed", "随机种子"))] = 0,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from emr_fl_deploy.corpus.command import synth

        synth(out, sites=sites, records=records, seed=seed, as_json=json)


def _deidentify(data: typer.Typer) -> None:
    @data.command(
        help=tr(
            "Write a copy of an export without identifiers. Stops (3) if too few planted identifiers are found.",
            "写出去除标识符的副本。若植入的标识符识别率不足则停止 (3)。",
        )
    )
    def deidentify(
        out: Annotated[Path, typer.Option(help=tr("the copy (CSV)", "副本 (CSV)"))],
        source: Annotated[
            Path | None,
            typer.Argument(
                metavar="IN",
                help=tr("the export; left out: the source of --config", "导出文件；省略时为 --config 的来源"),
            ),
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option(help=tr("the site's settings (SITE.toml)", "机构设置 (SITE.toml)")),
        ] = None,
        report: Annotated[
            Path | None, typer.Option(help=tr("audit report: .json or .html", "审计报告：.json 或 .html"))
        ] = None,
        audit_list: Annotated[
            Path | None,
            typer.Option(
                help=tr("sentences to read again (stays in the hospital)", "待人工复核的句子（不出医院）")
            ),
        ] = None,
        sentences: Annotated[
            int, typer.Option(help=tr("sentences in that list", "该列表的句数"), min=1)
        ] = 200,
        roster: Annotated[
            Path | None, typer.Option(help=tr("names of staff, one a line", "职工姓名，每行一个"))
        ] = None,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from emr_fl_deploy.deidentifying import deidentify

        deidentify(
            source,
            out,
            config=config,
            report=report,
            audit_list=audit_list,
            sentences=sentences,
            roster=roster,
            as_json=json,
        )


def _evaluate(app: typer.Typer) -> None:
    @app.command(help=tr("Score a saved model on a file.", "用一个文件评估已保存的模型。"))
    def evaluate(
        model: Annotated[Path, typer.Option(help=tr("model folder (RUN/model)", "模型目录 (RUN/model)"))],
        data: Annotated[Path, typer.Option(help=tr("file with texts and labels", "含文本与标签的文件"))],
        sets: Annotated[
            str,
            typer.Option(
                help=tr(
                    "of standard,noisy,adversarial,noise-curve",
                    "standard,noisy,adversarial,noise-curve 之中",
                )
            ),
        ] = "standard,noisy",
        against: Annotated[
            Path | None,
            typer.Option(
                help=tr(
                    "another model folder: differences on the same texts, with a test",
                    "另一个模型目录：在相同文本上比较并检验差值",
                )
            ),
        ] = None,
        column: Annotated[
            list[str] | None,
            typer.Option(help=tr("field=header, where not understood", "字段=表头，用于无法识别的表头")),
        ] = None,
        out: Annotated[
            Path | None, typer.Option(help=tr("write the scores as JSON", "把得分写成 JSON"))
        ] = None,
        seed: Annotated[
            int, typer.Option(help=tr("seed of noise, attack and intervals", "噪声、攻击与区间的种子"))
        ] = 2026,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
    ) -> None:
        from emr_fl_deploy.scoring import evaluate

        evaluate(
            model, data, sets=sets, columns=column or [], out=out, seed=seed, as_json=json, against=against
        )


def _predict(app: typer.Typer) -> None:
    @app.command(help=tr("Labels and probabilities of texts.", "预测文本的标签与概率。"))
    def predict(
        model: Annotated[Path, typer.Option(help=tr("model folder (RUN/model)", "模型目录 (RUN/model)"))],
        text: Annotated[list[str] | None, typer.Argument(help=tr("texts", "文本"))] = None,
        file: Annotated[
            Path | None,
            typer.Option(help=tr("one text a line, or - for standard input", "每行一条文本；- 为标准输入")),
        ] = None,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
        top: Annotated[
            int, typer.Option(help=tr("labels shown per text", "每条文本显示的标签数"), min=1)
        ] = 5,
        explain: Annotated[
            bool,
            typer.Option(
                "--explain",
                help=tr(
                    "the words that the labels rest on (integrated gradients)",
                    "给出标签所依据的词语（积分梯度）",
                ),
            ),
        ] = False,
        attention: Annotated[
            bool,
            typer.Option(
                "--attention",
                help=tr(
                    "the words that the model looked at (attention roll-out)",
                    "给出模型所关注的词语（注意力展开）",
                ),
            ),
        ] = False,
    ) -> None:
        from emr_fl_deploy.scoring import predict

        predict(
            model,
            text or [],
            file=file,
            as_json=json,
            top=top,
            explain=explain,
            attention=attention,
        )


def _report(app: typer.Typer) -> None:
    @app.command(help=tr("Make report.html from a run folder.", "由运行目录生成 report.html。"))
    def report(
        run: Annotated[Path, typer.Argument(help=tr("run folder", "运行目录"))],
    ) -> None:
        from emr_fl_server.report import write_report

        print(write_report(run))


def _version(app: typer.Typer) -> None:
    @app.command(help=tr("Versions of emr-fl and what it stands on.", "emr-fl 及其依赖的版本。"))
    def version() -> None:
        from importlib.metadata import version as installed

        for name in ("emr-fl", "flwr", "torch", "transformers"):
            print(f"{name} {installed(name)}")
