"""What the page says about where the model is right: label by label, by confidence, under attack."""

from __future__ import annotations

from collections.abc import Mapping

from emr_fl_server.report.charts import GROUPS, SERIES, responsive
from emr_fl_server.report.charts.labels import Dot, labels_chart
from emr_fl_server.report.charts.reliability import Bin, reliability_chart
from emr_fl_server.report.figures import Figures, Place
from emr_fl_server.report.reading import Results
from emr_fl_server.report.sections import CALIBRATION, PLAIN, SCORED, Context, place_of
from emr_fl_server.report.svg import Words


def labels(results: Results, figures: Figures) -> Context | None:
    """Each label's F1 against its frequency."""
    listed = [entry for entry in enumerate(results.items("per_label")) if isinstance(entry[1], Mapping)]
    if not listed:
        return None
    dots: list[Dot] = []
    rows: list[Context] = []
    members: dict[str, list[Place]] = {}
    for index, entry in listed:
        zh, en = (
            str(entry.get("zh") or entry.get("id") or "?"),
            str(entry.get("en") or entry.get("zh") or "?"),
        )
        group = str(entry.get("group") or "")
        place: Place = ("per_label", index)
        name = Words(en, zh)
        support, f1 = figures.of("count", *place, "support"), figures.of("percent", *place, "f1")
        rows.append(
            {
                "name": name,
                "group": GROUPS.get(group),
                "group_order": list(GROUPS).index(group) if group in GROUPS else len(GROUPS),
                "support": support,
                "f1": f1,
                "precision": figures.of("percent", *place, "precision"),
                "recall": figures.of("percent", *place, "recall"),
                **{
                    measure: figures.of("decimal", *place, measure)
                    for measure in ("pr_auc", "ece", "ece_mass", "brier")
                },
            }
        )
        if f1.value is not None:
            members.setdefault(group, []).append((*place, "f1"))
            if support.value:
                dots.append(Dot(name, group, support, f1))
    rows.sort(key=lambda row: -(row["support"].value or 0))
    means = {group: figures.mean("percent", members[group]) for group in GROUPS if group in members}
    label = Words(
        "F1 of each label against how often it occurs in the standard set; the table below has the numbers",
        "每个标签的 F1 与其在标准集中的出现次数；数值见下表",
    )
    return {
        "rows": rows,
        "groups": [(GROUPS[group], mean, len(members[group])) for group, mean in means.items()],
        "probabilities": any(row["brier"] for row in rows),
        "absent": sum(1 for row in rows if not row["f1"]),
        "chapters": _chapters(results, figures),
        "chart": responsive(lambda width: labels_chart(dots, means, label, width)) if dots else None,
    }


def _chapters(results: Results, figures: Figures) -> list[Context]:
    """A row for each chapter of ICD-10 that has a label."""
    return [
        {
            "numeral": str(entry.get("chapter") or ""),
            "name": Words(str(entry.get("en") or "?"), str(entry.get("zh") or "?")),
            "order": index,
            "labels": figures.of("count", "per_chapter", index, "labels"),
            "support": figures.of("count", "per_chapter", index, "support"),
            **{
                measure: figures.of("percent", "per_chapter", index, measure)
                for measure in ("f1", "precision", "recall")
            },
        }
        for index, entry in enumerate(results.items("per_chapter"))
        if isinstance(entry, Mapping)
    ]


def calibration(results: Results, figures: Figures) -> Context | None:
    """The reliability curve."""
    bins, rows = [], []
    for index, entry in enumerate(results.items("reliability")):
        if not isinstance(entry, Mapping):
            continue
        low, high = results.number("reliability", index, "low"), results.number("reliability", index, "high")
        if low is None or high is None:
            continue
        place: Place = ("reliability", index)
        item = Bin(
            float(low),
            float(high),
            figures.of("count", *place, "n"),
            figures.of("percent", *place, "confidence"),
            figures.of("percent", *place, "accuracy"),
        )
        bins.append(item)
        rows.append(
            {
                "low": figures.of("percent", *place, "low"),
                "high": figures.of("percent", *place, "high"),
                "n": item.n,
                "confidence": item.confidence,
                "accuracy": item.accuracy,
                "gap": figures.difference("points", (*place, "accuracy"), (*place, "confidence")),
            }
        )
    if not any(item.n.value for item in bins):
        return None
    label = Words(
        "how often the most probable label is right against the model's confidence; the table has the numbers",
        "最可能标签的实际正确率与模型置信度的对照；数值见表",
    )
    return {
        "rows": rows,
        "ece": figures.of("decimal", "sets", "standard", "ece"),
        "ece_labelwise": figures.of("decimal", "sets", "standard", "ece_labelwise"),
        "brier": figures.of("decimal", "sets", "standard", "brier"),
        "sets": [
            {
                "series": SERIES[key],
                **{measure: figures.of("decimal", *place_of(key), measure) for measure in CALIBRATION},
            }
            for key in SCORED
            if results.number(*place_of(key), "ece") is not None
        ],
        "decision": decision(results, figures),
        "chart": responsive(lambda width: reliability_chart(bins, label, width), wide=500.0),
    }


def decision(results: Results, figures: Figures) -> Context | None:
    """How probabilities become labels."""
    kind = results.text("decision", "kind")
    if not kind:
        return None
    return {
        "kind": kind,
        "threshold": figures.of("decimal", "decision", "threshold"),
        "by_label": bool(results.get("decision", "thresholds")),
        "temperature": figures.of("decimal", "decision", "temperature"),
    }


def attack(results: Results, figures: Figures) -> Context | None:
    """The attack on the final model."""
    place: Place = ("sets", "adversarial")
    if results.number(*place, "macro_f1") is None:
        return None
    attacked, succeeded = results.number(*place, "attacked"), results.number(*place, "succeeded")
    return {
        "score": figures.of("percent", *place, "macro_f1"),
        "clean": figures.of("percent", *place, "clean_macro_f1"),
        "drop": figures.of("percent", *place, "drop"),
        "n": figures.of("count", *place, "n"),
        "attacked": figures.of("count", *place, "attacked"),
        "succeeded": figures.of("count", *place, "succeeded"),
        "rate": figures.of("percent", *place, "success_rate"),
        "queries": figures.of("short", *place, "queries_mean"),
        "budget": figures.of("count", *place, "budget"),
        "bar": 100 * succeeded / attacked if attacked and succeeded is not None else None,
        "transfer": figures.of("percent", "sets", "adversarial_transfer", "macro_f1"),
        "plain": figures.of("percent", "baselines", PLAIN, "adversarial", "macro_f1"),
    }
