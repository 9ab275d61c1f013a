"""Which files to check, with which column names and labels: from the command line and a settings file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emr_fl_client.own_labels import site_mapping
from emr_fl_deploy.scoring import column_map
from emr_fl_shared.config.loading import load_settings, load_site_settings, read_toml
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.errors import UsageError
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.messages import tr
from emr_fl_shared.quality import Source
from emr_fl_shared.sources import AnySource, as_source


@dataclass(frozen=True)
class Wanted:
    """Exports to check, and the name or file of the label set if one was given."""

    sources: tuple[Source, ...]
    taxonomy: str | None


def wanted(
    files: Sequence[Path], config: Path | None, columns: Sequence[str] = (), taxonomy: str | None = None
) -> Wanted:
    """What the command line asks for.

    `config` is a site's own file, whose columns and mapping of labels hold for every file (and whose source is checked where no file is given), or the
    settings of a federation: then its labels hold, and each file takes the columns of the site that it is the source of.
    `columns` are `field=header` and win. Raises `SettingsError`, `UsageError` (no file, a file given twice) and, for a
    mapping that is not the site's own, `PolicyError`.
    """
    named: dict[AnySource, SiteSettings] = {}
    everywhere: dict[str, str] = {}
    own: LocalMapping | None = None
    if config is not None:
        if "source" in read_toml(config):
            site = load_site_settings(config)
            everywhere = site.columns
            own = site_mapping(site)
            named[_identity(site.records_source())] = site
        else:
            settings = load_settings(config).with_paths_from(config.parent)
            taxonomy = taxonomy or settings.labels.taxonomy
            named = {_identity(site.records_source()): site for site in settings.sites.values()}
    sources: list[AnySource] = list(files) or [site.records_source() for site in named.values()]
    if not sources:
        raise UsageError(
            tr("no file to check", "没有要检查的文件"),
            where="emr-fl data check",
            do=tr("name one or more exports", "请指定一个或多个导出文件"),
        )
    identities = [_identity(source) for source in sources]
    for source, identity in zip(sources, identities, strict=True):
        if identities.count(identity) > 1:
            raise UsageError(tr("the same file twice", "同一文件出现两次"), where=str(source))
    given = column_map(columns)
    exports = tuple(
        Source(
            source,
            {**(named[identity].columns if identity in named else everywhere), **given},
            own or (site_mapping(named[identity]) if identity in named else None),
        )
        for source, identity in zip(sources, identities, strict=True)
    )
    return Wanted(exports, taxonomy)


def _identity(source: AnySource) -> AnySource:
    """What makes two sources the same: the database and what it is asked, or the file, however its path is written."""
    found = as_source(source)
    return found if found.is_database else found.path.resolve()
