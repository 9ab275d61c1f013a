"""The files: every figure stands in results.json, LaTeX and Markdown survive any name, and what is missing is said."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest

from emr_fl_deploy.experiments.measures import MEASURES, measure
from emr_fl_deploy.experiments.tables import compared, escape_latex, latex, long_csv, markdown
from emr_fl_shared.messages import set_language

Results = dict[str, Any]


def row(results: Results, name: str) -> Results:
    return next(row for row in results["configurations"] if row["id"] == name)


def test_the_figures_are_those_of_the_finished_runs(gathered: Results) -> None:
    figure = row(gathered, "plain")["figures"]["standard.macro_f1"]
    assert figure["n"] == 3 and figure["mean"] == pytest.approx((0.61234 + 0.64321 + 0.6) / 3)
    against = row(gathered, "tfidf")["against_reference"]["standard.macro_f1"]
    assert against["n"] == 2
    assert against["mean"] == pytest.approx(((0.58 - 0.61234) + (0.6 - 0.64321)) / 2)
    assert row(gathered, "plain")["against_reference"] == {}, "the reference is not compared with itself"
    assert gathered["data"] == {
        "name": "study",
        "sample": False,
        "sites": None,
        "training_records": None,
        "n": {"standard": 60, "noisy": 60},
    }


def test_states(gathered: Results) -> None:
    assert {item["id"]: item["state"] for item in gathered["configurations"]} == {
        "plain": "finished",
        "broken": "failed",
        "tfidf": "waiting",
        "alone": "waiting",
        "bert": "not_run",
    }
    assert gathered["runs"] == {"all": 15, "finished": 6} and gathered["complete"] is False
    assert row(gathered, "alone")["by_seed"] == {}, "one site of two is no mean over sites"


def written(results: Results) -> Iterator[str]:
    """Every figure of the results as a table may write it."""
    ratio = results["comparison"] == "ratio"
    for item in results["configurations"]:
        for place in ("figures", "paper"):
            for column, figure in item[place].items():
                yield from (measure(column).text(figure.get(key)) for key in ("mean", "sd"))
        for column, figure in item["against_reference"].items():
            for key in ("mean", "low", "high"):
                yield f"{figure[key]:.2f}" if ratio else measure(column).text(figure[key])
        yield str(len(item["by_seed"]))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_figure_of_the_markdown_is_in_the_results(gathered: Results, language: str) -> None:
    set_language(language)
    known = set(written(gathered))
    tables = [line for line in markdown(gathered).splitlines() if line.startswith("| ") and "%" not in line]
    cells = [re.split(r"(?<!\\)\|", line)[2:-1] for line in tables]
    shown = [number for line in cells for cell in line for number in re.findall(r"[-+]?\d+(?:\.\d+)?", cell)]
    assert len(shown) > 20
    for number in shown:
        assert number.removeprefix("+") in known, number


def test_the_markdown_says_what_is_missing_and_what_failed(gathered: Results) -> None:
    text = markdown(gathered)
    assert "TF-IDF (1 of 3 runs to do)" in text
    assert "broken (3 of 3 runs failed)" in text
    assert "BERT (not run: no encoder was named" in text
    assert r"- broken, runs/broken/seed-0: it <broke> & 50 % \| of it" in text
    assert r"- plain: a \| b" in text
    assert "other data" in text and "68.5 ± 0.2" in text
    columns = {len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert columns == {7, 6, 4}, "three tables, each with as many cells in every line as in its head"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & more_of #1", r"50 \% \& more\_of \#1"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("~x^2 $5", r"\textasciitilde{}x\textasciicircum{}2 \$5"),
        ("45.4 ± 0.2", r"45.4 $\pm$ 0.2"),
        ("a\nb", "a b"),
        ("发热", "发热"),
    ],
)
def test_latex_is_escaped(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_latex_is_balanced(gathered: Results, language: str) -> None:
    set_language(language)
    text = latex(gathered)
    assert ("ctex" in text) == (language == "zh")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[{}&%$#_]", "", body)
    assert bare.count("{") == bare.count("}") and "%" not in bare and "#" not in bare
    assert bare.count("$") % 2 == 0
    for kind in ("table", "tabular"):
        assert text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") == 3
    for table in re.findall(r"\\toprule(.*?)\\bottomrule", bare, re.DOTALL):
        lines = [line for line in table.split(r"\\") if "&" in line]
        assert len({line.count("&") for line in lines}) == 1


def test_the_csv_has_every_figure_of_every_run(gathered: Results) -> None:
    lines = list(csv.DictReader(io.StringIO(long_csv(gathered))))
    runs = [run for item in gathered["configurations"] for run in item["runs"]]
    assert len(lines) == sum(len(run["figures"]) for run in runs)
    (found,) = [
        line["value"]
        for line in lines
        if (line["configuration"], line["seed"], line["set"], line["metric"])
        == ("plain", "1", "standard", "macro_f1")
    ]
    assert float(found) == 0.64321
    assert {line["site"] for line in lines} == {"", "north"}


@pytest.mark.parametrize(
    ("column", "figure", "comparison", "text"),
    [
        ("standard.macro_f1", (0.024, 0.011, 0.037), "difference", "+2.4 [+1.1, +3.7]"),
        ("standard.ece", (-0.0123, -0.02, 0.0001), "difference", "-0.012 [-0.020, 0.000]"),
        ("standard.macro_f1", (-0.00001, None, None), "difference", "0.0"),
        ("cost.train_s", (1.5512, 1.4, 1.7), "ratio", "1.55 [1.40, 1.70]"),
        ("cost.train_s", (None, None, None), "ratio", "–"),
    ],
)
def test_comparisons(column: str, figure: tuple[float | None, ...], comparison: str, text: str) -> None:
    assert compared(column, dict(zip(("mean", "low", "high"), figure, strict=True)), comparison) == text


def test_every_measure_has_a_form_that_the_page_knows() -> None:
    from emr_fl_server.report.figures import FORMATS

    assert {item.form for item in MEASURES.values()} <= FORMATS.keys()
