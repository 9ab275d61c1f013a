"""Where a site keeps what: its kit, its own SITE.toml, and the folder of its state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emr_fl_client.own_key import own_key
from emr_fl_client.own_labels import site_mapping
from emr_fl_client.own_models import check_folders
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import LOCAL_LABELS_FILE, SiteSettings
from emr_fl_shared.errors import StorageError
from emr_fl_shared.kit import SiteKit, read_site_kit
from emr_fl_shared.kit.keys import load_node_public_key
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.messages import tr

PSEUDONYM_FILE = "pseudonym.key"
RECEIPTS_FILE = "egress.jsonl"


@dataclass(frozen=True)
class Place:
    """A site's kit and settings, read and checked."""

    kit: SiteKit
    settings: SiteSettings
    settings_path: Path
    state: Path
    local_labels: LocalMapping | None = None

    @property
    def name(self) -> str:
        return self.kit.name

    @property
    def receipts(self) -> Path:
        """What left the site, a line each."""
        return self.state / "audit" / RECEIPTS_FILE

    def pseudonym_key(self) -> bytes:
        """The site's own random key, made on first use: for pseudonyms, and for sealing what the site keeps of its records."""
        return site_key(self.state)


@dataclass(frozen=True)
class Places:
    """What the command line said: the site, where its kit is, and its settings file."""

    site: str
    kit: Path | None = None
    config: Path | None = None
    state: Path | None = None

    def open(self) -> Place:
        """Read the kit and the settings. Raises `PolicyError`, `DataError` or `SettingsError`."""
        kit, path, settings = self._read()
        check_folders(settings.rewriting, where="rewriting")
        mapping = site_mapping(settings, public_key=load_node_public_key(kit.public_key.encode()))
        state = (self.state or path.parent / "state").absolute()
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                tr("the folder of the site's state can't be made", "无法创建机构的状态目录"),
                where=str(state),
                got=error.strerror or "",
            ) from None
        return Place(kit, settings, path, state, mapping)

    def local_labels(self) -> tuple[SiteKit, Path]:
        """The kit, and where the site's own mapping of labels is or would be; it is not read. Raises as `open` does."""
        kit, path, settings = self._read()
        return kit, Path(settings.local_labels or path.parent / LOCAL_LABELS_FILE)

    def _read(self) -> tuple[SiteKit, Path, SiteSettings]:
        folder = (self.kit or _find_kit(self.site)).absolute()
        kit = read_site_kit(folder, name=self.site)
        path = (self.config or kit.settings_path).absolute()
        return kit, path, load_site_settings(path)


def _find_kit(site: str) -> Path:
    """`kits/sites/NAME`, `NAME`, or the working folder."""
    for folder in (Path("kits") / "sites" / site, Path(site), Path()):
        if (folder / "kit.json").is_file():
            return folder
    return Path(site)


def site_key(state: Path) -> bytes:
    """The site's own key in the folder of its state, made on first use. Raises `PolicyError` as `own_key` does."""
    return own_key(state / PSEUDONYM_FILE)
