"""One cell: an ordinary simulated run in its own folder, begun or continued; in a process of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import tomli_w

from emr_fl_deploy.experiments.plan import Cell, read_plan
from emr_fl_deploy.run_folder import SETTINGS
from emr_fl_deploy.simulate.command import Request, pooled_tfidf, simulate
from emr_fl_shared.config.loading import ENVIRONMENT_PREFIX, read_toml
from emr_fl_shared.durable import write_durably


def run_cell(out: Path, cell: Cell, *, gpus: float = 0.0, cores: Collection[int] = ()) -> None:
    """Run or continue `cell` of the experiment noted in `out`, on these cores (none named: all that there are).

    Raises what `simulate` raises.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    # the plan holds what the environment set when it was made
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]
    plan = read_plan(out)
    configuration = plan.experiment.of(cell.configuration)
    data = plan.federation(out, cell.seed)
    names = [cell.site] if cell.site else sorted(read_toml(data / "federation.toml").get("sites", {}))
    settings = cell.beside(out, "settings", ".toml")
    write_durably(settings, [tomli_w.dumps(plan.cell_settings(configuration, names)).encode()])
    folder = cell.folder(out)
    resume = (folder / SETTINGS).is_file()
    if not resume:  # what a run left that was killed before its first line
        shutil.rmtree(folder, ignore_errors=True)
    request = Request(
        config=settings,
        data=data,
        seed=cell.seed,
        out=folder,
        resume=resume,
        baselines=False,
        gpus=gpus,
        only=(cell.site,) if cell.site else (),
    )
    if configuration.kind == "tfidf":
        pooled_tfidf(request, balanced=configuration.balanced)
    else:
        simulate(request)
