"""The tables as files: `results.csv` for further work, `results.md` and `results.tex` to read, in the language in force."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

from emr_fl_deploy.experiments.measures import heading, measure
from emr_fl_server.report.svg import Words
from emr_fl_shared.messages import language, tr

Results = Mapping[str, Any]
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
}


def said(both: Mapping[str, str] | Words) -> str:
    """The text in the language in force."""
    if isinstance(both, Words):
        return tr(both.en, both.zh)
    return tr(both["en"], both["zh"])


def mean_and_sd(column: str, figure: Mapping[str, Any] | None) -> str:
    """`45.4 ± 0.2`; without ± from one seed, `–` from none."""
    if not figure or figure.get("mean") is None:
        return "–"
    written = measure(column)
    text = written.text(figure["mean"])
    return f"{text} ± {written.text(figure['sd'])}" if figure.get("sd") is not None else text


def compared(column: str, figure: Mapping[str, Any] | None, comparison: str) -> str:
    """Difference in the column's units, or ratio, with its interval: `+2.4 [1.1, 3.7]`, `1.55 [1.40, 1.71]`."""
    if not figure or figure.get("mean") is None:
        return "–"
    write: Callable[[float | None], str] = _ratio if comparison == "ratio" else _signed(column)
    text = write(figure["mean"])
    if figure["low"] is None:
        return text
    return f"{text} [{write(figure['low'])}, {write(figure['high'])}]"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _signed(column: str) -> Callable[[float | None], str]:
    def text(value: float | None) -> str:
        written = measure(column).text(value)
        return (
            written if value is None or written.startswith("-") or not written.strip("0.") else "+" + written
        )

    return text


def state_of(row: Mapping[str, Any]) -> str:
    """What is to be said of a row beside its figures; empty where all is there."""
    if row["state"] == "not_run":
        return tr("not run: ", "未运行：") + said(row["reason"])
    failed = [run for run in row["runs"] if run["state"] == "failed"]
    missing = sum(run["state"] == "waiting" for run in row["runs"])
    parts = []
    if failed:
        parts.append(
            tr(
                f"{len(failed)} of {len(row['runs'])} runs failed",
                f"{len(row['runs'])} 个运行中 {len(failed)} 个失败",
            )
        )
    if missing:
        parts.append(
            tr(
                f"{missing} of {len(row['runs'])} runs to do",
                f"{len(row['runs'])} 个运行中 {missing} 个未完成",
            )
        )
    return tr("; ", "；").join(parts)


def what_on(results: Results) -> str:
    """On what, with which seeds and model the figures were measured."""
    data = results["data"]
    parts = [f"{name} n = {n}" for name, n in data["n"].items()]
    if data["training_records"]:
        made = tr(
            f"{data['sites']} sites, {data['training_records']} training records",
            f"{data['sites']} 家机构，{data['training_records']} 条训练记录",
        )
        parts = [made, *parts]
    sizes = ", ".join(parts)
    name = tr("sample federation", "样例联邦") if data["training_records"] else data["name"]
    seeds = ", ".join(map(str, results["seeds"]))
    text = tr(
        f"Data: {name} ({sizes or 'no run finished yet'}); seeds {seeds}; encoder {results['encoder']}; "
        f"{results['runs']['finished']} of {results['runs']['all']} runs finished.",
        f"数据：{name}（{sizes or '尚无完成的运行'}）；种子 {seeds}；编码器 {results['encoder']}；"
        f"{results['runs']['all']} 个运行中完成 {results['runs']['finished']} 个。",
    )
    if data["sample"]:
        text += " " + tr(
            "The records are invented by emr-fl: these figures compare methods and say nothing about clinical performance.",
            "病历由 emr-fl 虚构生成：这些数字只用于比较方法，不代表临床性能。",
        )
    return text


def how_compared(results: Results) -> str:
    """What the second table's figures are."""
    reference = next(row for row in results["configurations"] if row["id"] == results["reference"])
    level = round(100 * results["level"])
    name = said(reference["name"])
    if results["comparison"] == "ratio":
        return tr(
            f"Ratio to “{name}”, paired by seed: geometric mean [{level} % t-interval over seeds], each for itself",
            f"相对“{name}”的倍数，按种子配对：几何均值 [{level} % t 区间]，未作多重比较校正",
        )
    return tr(
        f"Difference to “{name}”, paired by seed: mean [{level} % t-interval over seeds], each for itself",
        f"与“{name}”之差，按种子配对：均值 [{level} % t 区间]，未作多重比较校正",
    )


def _tables(results: Results) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows) of our figures, of the comparison, and of the paper's figures."""
    columns, rows = results["columns"], results["configurations"]
    heads = [said(heading(column)) for column in columns]
    named = tr("configuration", "配置")
    ours = [
        [
            _named(row),
            *(mean_and_sd(column, row["figures"].get(column)) for column in columns),
            str(len(row["by_seed"])),
        ]
        for row in rows
    ]
    against = [
        [
            said(row["name"]),
            *(compared(c, row["against_reference"].get(c), results["comparison"]) for c in columns),
        ]
        for row in rows
        if row["against_reference"]
    ]
    tables = [
        (tr("Mean ± sd over seeds", "各种子的均值 ± 标准差"), [named, *heads, tr("seeds", "种子数")], ours)
    ]
    if against:
        tables.append((how_compared(results), [named, *heads], against))
    in_paper = [c for c in dict.fromkeys(c for row in rows for c in row["paper"])]
    if in_paper:
        theirs = [
            [said(row["name"]), *(mean_and_sd(column, row["paper"].get(column)) for column in in_paper)]
            for row in rows
            if row["paper"]
        ]
        tables.append((paper_caption(results), [named, *(said(heading(c)) for c in in_paper)], theirs))
    return tables


def paper_caption(results: Results) -> str:
    """Over the paper's figures."""
    table = results["paper_table"]
    number = tr(f", Table {table}", f"表 {table}") if table else ""
    return tr(
        f"The paper's figures{number}: other data (one hospital, 105,000 records, not federated), not comparable with the above",
        f"论文{number}的数字：数据不同（单家医院 105,000 条病历，非联邦），不可与上表直接比较",
    )


def _named(row: Mapping[str, Any]) -> str:
    state = state_of(row)
    return said(row["name"]) + (f" ({state})" if state else "")


def markdown(results: Results) -> str:
    """`results.md`."""
    lines = [f"# {_cell(said(results['title']))}", "", said(results["question"]), "", what_on(results)]
    for caption, head, rows in _tables(results):
        lines += ["", f"**{caption}**", "", "| " + " | ".join(map(_cell, head)) + " |"]
        lines.append("|---|" + "---:|" * (len(head) - 1))
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    failed = [
        (row, run) for row in results["configurations"] for run in row["runs"] if run["state"] == "failed"
    ]
    if failed:
        lines += ["", tr("**Failed**", "**失败的运行**"), ""]
        lines += [f"- {row['id']}, {run['folder']}: {_cell(run['reason'])}" for row, run in failed]
    notes = [row for row in results["configurations"] if row["note"]]
    if notes:
        lines += ["", tr("**What the rows are**", "**各行说明**"), ""]
        lines += [f"- {_cell(said(row['name']))}: {_cell(said(row['note']))}" for row in notes]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def latex(results: Results) -> str:
    """`results.tex`: one `table` with booktabs for each table, to be `\\input` into a document."""
    engine = "% XeLaTeX or LuaLaTeX with ctex\n" if language() == "zh" else ""
    parts = [f"% {results['experiment']}, emr-fl {results['versions']['emr-fl']}; needs booktabs\n{engine}"]
    for number, (caption, head, rows) in enumerate(_tables(results), 1):
        note = what_on(results) if number == 1 else ""
        title = said(results["title"])
        sep = " \\\\\n"
        body = sep.join("    " + " & ".join(map(escape_latex, row)) for row in rows)
        parts.append(
            "\\begin{table}\n  \\centering\n  \\small\n"
            f"  \\caption{{{escape_latex('. '.join(filter(None, (title, caption, note))))}}}\n"
            f"  \\label{{tab:{results['experiment']}-{number}}}\n"
            f"  \\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n    \\toprule\n"
            f"    {' & '.join(map(escape_latex, head))}{sep}    \\midrule\n{body}{sep}    \\bottomrule\n"
            "  \\end{tabular}\n\\end{table}\n"
        )
    return "\n".join(parts)


def escape_latex(text: str) -> str:
    """The text as LaTeX prints it; a control character becomes a space."""
    return "".join(_LATEX.get(char, " " if ord(char) < 32 else char) for char in text)


def long_csv(results: Results) -> str:
    """`results.csv`: a line for each figure of each finished run, with a header; UTF-8."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["experiment", "configuration", "site", "seed", "set", "metric", "value"])
    for row in results["configurations"]:
        for run in row["runs"]:
            for column, value in run["figures"].items():
                place, _, metric = column.partition(".")
                writer.writerow(
                    [
                        results["experiment"],
                        row["id"],
                        run["site"] or "",
                        run["seed"],
                        place,
                        metric,
                        repr(value),
                    ]
                )
    return stream.getvalue()
