"""The sites of a simulated federation: each ClientApp knows its own site only."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.clientapp import ClientApp

from emr_fl_client.app import client_app, progress_nowhere
from emr_fl_client.dataset.ledger import FOLDER
from emr_fl_client.egress import Door
from emr_fl_client.own_key import own_key
from emr_fl_client.own_labels import site_mapping
from emr_fl_client.site import Site
from emr_fl_deploy.simulate.grid import AppFactory
from emr_fl_deploy.simulate.identities import forget_keys, identity_of
from emr_fl_shared.config import Settings, SiteSettings

Progress = Callable[[dict[str, Any]], None]


SEAL_KEY = "seal.key"


def make_keys(names: Iterable[str], run: Path) -> None:
    """The sites' keys, before any two processes could make the same one."""
    for name in names:
        own_key(run / "sites" / name / SEAL_KEY)


def forget_records(names: Iterable[str], run: Path) -> None:
    """When a run is complete: delete what its sites kept of their records, the key first. A run folder is passed on."""
    names = list(names)
    forget_keys(names, run)
    for name in names:
        (run / "sites" / name / SEAL_KEY).unlink(missing_ok=True)
        shutil.rmtree(run / "sites" / name / FOLDER, ignore_errors=True)


def factories(settings: Settings, run: Path) -> dict[str, AppFactory]:
    """A factory of the ClientApp for each site, to be called in the site's own process."""
    return {
        name: partial(_one_site, settings=site, run=run, seed=settings.seed)
        for name, site in settings.sites.items()
    }


def partitioned_app(settings: Settings, run: Path) -> ClientApp:
    """One ClientApp for Flower's simulation engine, which tells the sites apart by `partition-id`.

    An actor keeps at most one site in memory: when it is handed another, that one is read anew.
    """
    names = sorted(settings.sites)
    sites: Mapping[str, SiteSettings] = dict(settings.sites)
    seed = settings.seed

    def site_of(context: Context) -> tuple[Site, Door]:
        name = names[int(str(context.node_config["partition-id"]))]
        return _cached_site(name, sites[name].model_dump_json(), str(run), seed)

    return client_app(site_of)


@lru_cache(maxsize=1)
def _cached_site(name: str, settings: str, run: str, seed: int) -> tuple[Site, Door]:
    return make_site(name, SiteSettings.model_validate_json(settings), Path(run), seed, progress_nowhere)


def make_site(
    name: str, settings: SiteSettings, run: Path, seed: int, progress: Progress
) -> tuple[Site, Door]:
    """A site and its door.

    In a simulation the pseudonym key follows from the seed, so that runs can be repeated; what is kept of the records is sealed with
    a random key in the site's folder, because everyone knows the seed.
    """
    key = hmac.digest(f"simulated|{seed}".encode(), name.encode(), hashlib.sha256)
    folder = run / "sites" / name
    site = Site(
        name,
        settings,
        folder,
        key,
        progress,
        seal_key=own_key(folder / SEAL_KEY),
        local_labels=site_mapping(settings),
        identity=identity_of(name, run),
    )
    return site, Door(name, settings.policy, run / "audit" / "sites" / f"{name}.jsonl")


def _one_site(name: str, progress: Progress, *, settings: SiteSettings, run: Path, seed: int) -> ClientApp:
    pair = make_site(name, settings, run, seed, progress)
    return client_app(lambda _: pair)
