"""The sample federation of a run without `--data`: noted in the run folder before it is made, so that a run that is killed
while it is being made can be taken up as well."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

SAMPLE_SITES, SAMPLE_RECORDS = 4, 6000
SAMPLE_MARK = "sample.json"
DATA = "data"


@dataclass(frozen=True)
class Sample:
    """What to make, and the settings that were asked for with it (plain data)."""

    sites: int
    records: int
    seed: int
    settings: dict[str, Any]

    def check(self) -> None:
        """Raises `UsageError` for numbers out of range."""
        from emr_fl_deploy.corpus.sizes import plan_sizes

        plan_sizes(self.sites, self.records)

    def make(self, folder: Path) -> Path:
        """Note it in `folder` and make it there, unless it is complete already; returns its folder."""
        from emr_fl_deploy.corpus import synthesise

        data = folder / DATA
        write_durably(folder / SAMPLE_MARK, [json.dumps(vars(self), ensure_ascii=False, indent=2).encode()])
        for left_over in folder.glob(f".{DATA}-*"):  # of a run that was killed here
            shutil.rmtree(left_over, ignore_errors=True)
        if (data / "federation.toml").is_file():  # its folder takes its name when it is complete
            return data
        print(
            tr(
                f"making the sample federation: {self.sites} sites, {self.records} training records, seed {self.seed} …",
                f"正在生成样例联邦：{self.sites} 家机构，{self.records} 条训练记录，种子 {self.seed} …",
            ),
            file=sys.stderr,
        )
        synthesise(data, sites=self.sites, records=self.records, seed=self.seed)
        return data


def read_sample(folder: Path) -> Sample | None:
    """The note of `Sample.make`, or `None` where there is none. Raises `DataError` if it can't be read."""
    path = folder / SAMPLE_MARK
    try:
        value = json.loads(path.read_bytes())
        return Sample(int(value["sites"]), int(value["records"]), int(value["seed"]), dict(value["settings"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            tr("the note about the sample federation can't be read", "样例联邦的记录文件无法读取"),
            where=str(path),
            do=tr("start anew in another run folder", "请在新的运行目录中重新开始"),
        ) from None
