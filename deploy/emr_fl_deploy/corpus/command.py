"""`emr-fl data synth`."""

from __future__ import annotations

import json
from pathlib import Path

from emr_fl_deploy.corpus import synthesise
from emr_fl_shared.messages import tr


def synth(out: Path, *, sites: int, records: int, seed: int, as_json: bool) -> None:
    """Write a sample federation and print what was written."""
    summary = synthesise(out, sites=sites, records=records, seed=seed)
    if as_json:
        print(
            json.dumps(
                {
                    "out": str(summary.out),
                    "rows": dict(summary.rows),
                    "labels_per_record": summary.labels_per_record,
                    "head_ten_share": summary.head_ten_share,
                    "planted": dict(summary.planted),
                },
                ensure_ascii=False,
            )
        )
        return
    for name, rows in summary.rows.items():
        print(f"{rows:>8}  {name}")
    print(
        tr(
            f"{summary.labels_per_record:.2f} labels a record; the ten most common hold {100 * summary.head_ten_share:.0f} %",
            f"每条记录 {summary.labels_per_record:.2f} 个标签；最常见的十个占 {100 * summary.head_ten_share:.0f} %",
        )
    )
    print(f"emr-fl simulate --data {summary.out}")
