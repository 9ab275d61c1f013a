"""The same apps on Flower's own simulation engine (Ray), for many sites or several GPUs."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from pathlib import Path

from flwr.serverapp import ServerApp

from emr_fl_deploy.simulate.sites import partitioned_app
from emr_fl_shared.config import Settings
from emr_fl_shared.deidentify.parallel import PROCESSES
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr


def require_ray() -> None:
    """Raises `UsageError` if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            tr("Flower's simulation engine is not installed", "未安装 Flower 的仿真引擎"),
            where="--engine ray",
            do='pip install -c constraints.txt "emr-fl[ray]"',
        )


def run_with_ray(app: ServerApp, settings: Settings, run: Path, gpus: float, cpus: int) -> None:
    """Run `app` with one virtual node per site.

    Flower 1.41 deprecates `run_simulation` in favour of its own command, which starts from a bundle of code; we start
    from installed code, so this is the only entry left (docs/adr/0003-simulation.md).
    """
    from flwr.simulation import run_simulation

    os.environ.setdefault(PROCESSES, "1")  # the sites are what works side by side
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_simulation(
            server_app=app,
            client_app=partitioned_app(settings, run),
            num_supernodes=len(settings.sites),
            backend_config={"client_resources": {"num_cpus": cpus, "num_gpus": gpus}},
        )
