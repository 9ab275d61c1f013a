"""What the page says first: head, key figures, comparison, rounds."""

from __future__ import annotations

from typing import Any

from emr_fl_server.report.charts import SERIES, responsive
from emr_fl_server.report.charts.dumbbells import Method, methods_chart
from emr_fl_server.report.charts.motif import motif
from emr_fl_server.report.charts.rounds import Line, rounds_chart
from emr_fl_server.report.figures import Figure, Figures, Place
from emr_fl_server.report.reading import Results, pointer
from emr_fl_server.report.svg import Words

Context = dict[str, Any]

PLAIN = "federated_plain"
METHODS: tuple[tuple[str, Words, Words], ...] = (
    (
        PLAIN,
        Words("Plain federation", "普通联邦"),
        Words("without augmentation and adversarial training", "不做数据增强与对抗训练"),
    ),
    (
        "tfidf_balanced_pooled",
        Words("TF-IDF, pooled text", "TF-IDF，汇总文本"),
        Words(
            "all sites' text in one place, which no hospital may have", "把各机构文本集中一处，现实中不允许"
        ),
    ),
    (
        "tfidf_balanced_local",
        Words("TF-IDF, each site alone", "TF-IDF，各机构单独"),
        Words("mean over the sites", "各机构的平均"),
    ),
)
AGAINST = {
    PLAIN: Words("the plain federation", "普通联邦"),
    "tfidf_balanced_pooled": Words("TF-IDF on pooled text", "汇总文本的 TF-IDF"),
    "tfidf_balanced_local": Words("each site's own TF-IDF", "各机构自己的 TF-IDF"),
}
OURS = Words("Full method, federated", "完整方法（联邦）")
SCORED = ("standard", "noisy", "cross_site", "adversarial", "adversarial_transfer", "validation")
TILES = ("standard", "noisy", "cross_site", "adversarial")
MEASURES = (
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "head_f1",
    "middle_f1",
    "tail_f1",
    "chapter_macro_f1",
    "chapter_micro_f1",
    "pr_auc_macro",
)
CALIBRATION = ("ece", "ece_mass", "ece_labelwise", "ece_labelwise_mass", "brier")


def place_of(key: str) -> Place:
    """Where the scores of a set stand."""
    return ("validation",) if key == "validation" else ("sets", key)


def head(results: Results, figures: Figures) -> Context:
    """Name, date, seed, model, versions; whether the data are ours."""
    created = results.text("created")
    return {
        "name": results.text("name") or "emr-fl",
        "created": created[:16].replace("T", " "),
        "model": results.text("model"),
        "taxonomy": results.text("taxonomy"),
        "engine": results.text("engine"),
        "seed": figures.of("general", "seed"),
        "rounds": figures.of("count", "rounds"),
        "planned": figures.of("count", "rounds_planned"),
        "labels": figures.of("count", "labels"),
        "parameters": figures.of("count", "parameters"),
        "sites": figures.length("sites"),
        "versions": [
            (name, pointer("versions", name), str(version))
            for name, version in results.mapping("versions").items()
            if isinstance(version, str | int | float)
        ],
        "motif": motif(len(results.mapping("sites")) or 5),
        "sample": results.get("sample_data") is True,
        "best": figures.of("count", "best_round"),
        "stopped_early": (results.number("rounds") or 0) < (results.number("rounds_planned") or 0),
    }


def scores(results: Results, figures: Figures) -> Context:
    """The key figures, and the table of all sets and measures."""
    tiles = [
        {
            "series": SERIES[key],
            "score": figures.of("percent", "sets", key, "macro_f1"),
            "drop": figures.of("percent", "sets", key, "drop"),
            "n": figures.of("count", "sets", key, "n"),
            "clean": figures.of("percent", "sets", key, "clean_macro_f1"),
            "ends": ends_of(figures, ("sets", key), "macro_f1"),
        }
        for key in TILES
        if results.number("sets", key, "macro_f1") is not None
    ]
    rows: list[Context] = []
    for key in SCORED:
        place = place_of(key)
        if results.mapping(*place):
            rows.append(
                {
                    "series": SERIES[key],
                    "n": figures.of("count", *place, "n"),
                    "drop": figures.of("percent", *place, "drop"),
                    "absent": figures.of("count", *place, "labels_absent"),
                    "subset_accuracy": figures.of("percent", *place, "subset_accuracy"),
                    "ends": {
                        measure: ends_of(figures, place, measure)
                        for measure in ("macro_f1", "micro_f1", "weighted_f1")
                    },
                    **{
                        measure: figures.of(
                            "percent" if measure.endswith("f1") else "decimal", *place, measure
                        )
                        for measure in MEASURES
                    },
                }
            )
    return {
        "tiles": tiles,
        "rows": rows,
        "absent": any(row["absent"].value for row in rows),
        "by_chapter": any(row["chapter_macro_f1"] for row in rows),
        "resamples": figures.of("count", "bootstrap", "resamples"),
        "by_group": any(row["head_f1"] for row in rows),
        "ece": figures.of("decimal", "sets", "standard", "ece"),
    }


def ends_of(figures: Figures, place: Place, measure: str) -> tuple[Figure, Figure]:
    """The ends of a measure's interval, in percent; missing where there is none."""
    low, high = (figures.of("percent", *place, f"{measure}_interval", end) for end in (0, 1))
    return low, high


def comparison(results: Results, figures: Figures) -> Context | None:
    """The full method beside its baselines."""
    sets = [key for key in TILES if results.number("sets", key, "macro_f1") is not None]
    known = [item for item in METHODS if results.mapping("baselines", item[0])]
    if not known or "standard" not in sets:
        return None
    sets = [
        key
        for key in sets
        if key in ("standard", "noisy")
        or any(results.number("baselines", item[0], key, "macro_f1") is not None for item in known)
    ]
    compared = [key for key in ("standard", "noisy") if key in sets]
    rows: list[Context] = [
        {
            "key": "ours",
            "name": OURS,
            "note": Words(
                "augmentation, balanced sampling, adversarial training", "数据增强、均衡采样、对抗训练"
            ),
            "scores": [figures.of("percent", "sets", key, "macro_f1") for key in sets],
            "gains": [],
            "tests": [],
            "train": figures.of("seconds", "cost", "train_s"),
        }
    ]
    for baseline, name, note in known:
        rows.append(
            {
                "key": baseline,
                "name": name,
                "note": note,
                "scores": [figures.of("percent", "baselines", baseline, key, "macro_f1") for key in sets],
                "gains": [
                    figures.difference(
                        "points", ("sets", key, "macro_f1"), ("baselines", baseline, key, "macro_f1")
                    )
                    for key in compared
                ],
                "tests": [_tested(results, figures, baseline, key) for key in compared],
                "train": figures.of("seconds", "baselines", baseline, "cost", "train_s"),
            }
        )
    methods = [
        Method(
            row["name"],
            row["scores"][0],
            row["scores"][sets.index("noisy")]
            if "noisy" in sets
            else figures.of("percent", "sets", "noisy", "-"),
            ours=row["key"] == "ours",
        )
        for row in rows
    ]
    label = Words(
        "macro-F1 on the standard and the noisy set for each way of training; the table below has the numbers",
        "各训练方式在标准集与含噪集上的 macro-F1；数值见下表",
    )
    return {
        "sets": [SERIES[key] for key in sets],
        "compared": [SERIES[key] for key in compared],
        "rows": rows,
        "noisy": [
            (AGAINST[row["key"]], row["gains"][compared.index("noisy")])
            for row in rows[1:]
            if "noisy" in compared and row["gains"][compared.index("noisy")]
        ],
        "trained": any(row["train"] for row in rows[1:]),
        "tested": figures.length("comparisons") if results.items("comparisons") else None,
        "chart": responsive(lambda width: methods_chart(methods, label, width)),
    }


def _tested(results: Results, figures: Figures, against: str, key: str) -> Context | None:
    """The interval and the p-value of the difference of macro-F1 to a baseline on one set, where it was tested."""
    for index in range(len(results.items("comparisons"))):
        place: Place = ("comparisons", index)
        found = [results.text(*place, name) for name in ("against", "set", "measure")]
        if found == [against, key, "macro_f1"]:
            return {
                "low": figures.of("points", *place, "interval", 0),
                "high": figures.of("points", *place, "interval", 1),
                "p": figures.of("decimal", *place, "p_holm"),
            }
    return None


def rounds(results: Results, figures: Figures) -> Context | None:
    """The sets over rounds."""
    history = results.items("history")
    lines = _lines(
        results, figures, ("history",), ("standard", "noisy", "cross_site", "adversarial", "validation")
    )
    if not any(line.points for line in lines):
        return None
    plain = _lines(results, figures, ("baselines", PLAIN, "history"), ("standard", "noisy"), plain=True)
    best = results.number("best_round")
    label = Words(
        "macro-F1 of the validation set and the held-out sets over rounds; the table below has the numbers",
        "验证集与各测试集的 macro-F1 随轮次的变化；数值见下表",
    )
    known = [line for line in (*lines, *plain) if line.points]
    at_best = []
    for line in known:
        figure = next((figure for number, figure in line.points if number == best and not line.plain), None)
        at_best.append((line, figure))
    rows: list[Context] = []
    for index in range(len(history)):
        place: Place = ("history", index)
        rows.append(
            {
                "round": figures.of("count", *place, "round"),
                "best": results.number(*place, "round") == best,
                "loss": figures.of("decimal", *place, "loss"),
                "scores": [
                    figures.of("percent", *place, *_history_place(line.series.key), "macro_f1")
                    for line in lines
                    if line.points
                ],
                "threshold": figures.of("decimal", *place, "decision", "threshold"),
                "sites": figures.length(*place, "sites"),
            }
        )
    return {
        "legend": at_best,
        "columns": [line.series for line in lines if line.points],
        "rows": rows,
        "best": figures.of("count", "best_round"),
        "several": len(history) > 1,
        "chart": responsive(lambda width: rounds_chart(known, _whole(best), label, width)),
    }


def _lines(
    results: Results, figures: Figures, history: Place, keys: tuple[str, ...], *, plain: bool = False
) -> list[Line]:
    lines = []
    for key in keys:
        points = []
        for index in range(len(results.items(*history))):
            number = _whole(results.number(*history, index, "round"))
            figure = figures.of("percent", *history, index, *_history_place(key), "macro_f1")
            if number is not None and figure.value is not None:
                points.append((number, figure))
        # In the rounds, `adversarial` is a fixed set of texts that fooled another model.
        series = SERIES["adversarial_transfer" if key == "adversarial" else key]
        lines.append(Line(series, tuple(points), plain))
    return lines


def _history_place(key: str) -> Place:
    if key == "validation":
        return ("validation",)
    return ("sets", "adversarial" if key == "adversarial_transfer" else key)


def _whole(value: float | int | None) -> int | None:
    return None if value is None else int(value)
