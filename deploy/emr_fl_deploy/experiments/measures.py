"""The columns of a table: `SET.METRIC` of a run's `sets`, or `cost.NAME`; how each is headed and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from emr_fl_server.report.charts import SERIES
from emr_fl_server.report.svg import Words
from emr_fl_shared.messages import tr

COLUMN = re.compile(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
COST = "cost"


@dataclass(frozen=True)
class Measure:
    """How a metric is headed and written: `scale` × the value with `digits` decimals; `form` is the page's name for about the same."""

    name: Words
    scale: float = 1.0
    digits: int = 3
    form: str = "decimal"

    def text(self, value: float | None) -> str:
        """The value as a table has it; `–` for none."""
        if value is None:
            return "–"
        text = f"{self.scale * value:.{self.digits}f}"
        return text[1:] if text.startswith("-") and not text.strip("-0.") else text


MEASURES: Mapping[str, Measure] = {
    "macro_f1": Measure(Words("macro-F1 %", "macro-F1 %"), 100.0, 1, "percent"),
    "micro_f1": Measure(Words("micro-F1 %", "micro-F1 %"), 100.0, 1, "percent"),
    "weighted_f1": Measure(Words("weighted F1 %", "加权 F1 %"), 100.0, 1, "percent"),
    "subset_accuracy": Measure(Words("subset accuracy %", "子集准确率 %"), 100.0, 1, "percent"),
    "pr_auc_macro": Measure(Words("macro PR-AUC", "宏 PR-AUC")),
    "chapter_macro_f1": Measure(Words("chapters: macro-F1 %", "章：macro-F1 %"), 100.0, 1, "percent"),
    "ece": Measure(Words("ECE", "ECE")),
    "ece_labelwise": Measure(Words("label-wise ECE", "逐标签 ECE")),
    "brier": Measure(Words("Brier", "Brier"), digits=4),
    "drop": Measure(Words("drop %", "下降 %"), 100.0, 1, "percent"),
    "train_s": Measure(Words("training, s", "训练（秒）"), digits=1, form="short"),
    "wall_s": Measure(Words("whole run, s", "整个运行（秒）"), digits=1, form="short"),
    "evaluate_s": Measure(Words("evaluation, s", "评估（秒）"), digits=1, form="short"),
    "bytes_up_per_round": Measure(Words("MB up a round", "每轮上行 MB"), 1e-6, 2, "size"),
    "sites_peak_rss_mb": Measure(
        Words("peak memory of a site, MB", "机构内存峰值 MB"), digits=0, form="memory"
    ),
}


def known_column(column: str) -> str:
    """The column itself. Raises ValueError where its metric has no name here."""
    if not COLUMN.fullmatch(column) or column.partition(".")[2] not in MEASURES:
        raise ValueError(
            tr(
                f"unknown column {column!r}: SET.METRIC with METRIC one of ",
                f"未知的列 {column!r}：应为 集.指标，指标为 ",
            )
            + ", ".join(MEASURES)
        )
    return column


def measure(column: str) -> Measure:
    """How the column is written."""
    return MEASURES[column.partition(".")[2]]


def heading(column: str) -> Words:
    """`standard.macro_f1` → "standard: macro-F1 %"."""
    place = column.partition(".")[0]
    name = measure(column).name
    if place == COST:
        return name
    series = SERIES.get(place)
    prefix = series.name if series is not None else Words(place, place)
    return Words(f"{prefix.en}: {name.en}", f"{prefix.zh}：{name.zh}")
