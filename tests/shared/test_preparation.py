"""From an export to labels: what is counted before a label's name may leave a site."""

from __future__ import annotations

from pathlib import Path

from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.preparation import label_counts


def export(path: Path, labels: list[str]) -> Path:
    rows = "".join(f"咳嗽三天,{label}\n" for label in labels)
    path.write_text("text,labels\n" + rows, encoding="utf-8")
    return path


def test_spellings_of_one_label_are_counted_together(tmp_path: Path) -> None:
    labels = ["COPD", "ＣＯＰＤ", "copd", "copd", "C OPD", "copd;COPD", "肺炎"]
    counts = label_counts(export(tmp_path / "a.csv", labels), None)
    assert counts == {"copd": 6, "肺炎": 1}
    assert len(column_taxonomy([*labels[:5], "肺炎"]).labels) == len(counts)
