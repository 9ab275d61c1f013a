"""Where a site keeps what: its kit, its own SITE.toml, and the folder of its state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emr_fl_client.own_key import own_key
from emr_fl_client.own_labels import site_mapping
from emr_fl_client.own_policy import with_own_policy
from emr_fl_shared.chain import Signer
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import LOCAL_LABELS_FILE, POLICY_FILE, SiteSettings
from emr_fl_shared.errors import StorageError
from emr_fl_shared.kit import SiteKit, read_site_kit
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import load_node_key, load_node_public_key
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.messages import tr

PSEUDONYM_FILE = "pseudonym.key"
RECEIPTS_FILE = "egress.jsonl"
SETTINGS_FILE = "SITE.toml"


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
        """The audit log: what left the site, an entry each."""
        return receipts_in(self.state)

    def signer(self) -> Signer:
        """Signs the audit log with the kit's node key. Raises `PolicyError` for a key that others can read."""
        path = self.kit.node_key_path
        return Signer(load_node_key(read_guarded(path, private=True), where=str(path)))

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
        public_key = load_node_public_key(kit.public_key.encode())
        mapping = site_mapping(settings, public_key=public_key)
        settings = with_own_policy(settings, public_key=public_key)
        state = self.state_folder()
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

    def own_policy(self) -> tuple[SiteKit, Path]:
        """The kit, and where the site's own policy is or would be; it is not read. Raises as `open` does."""
        kit, path, settings = self._read()
        return kit, Path(settings.policy_file or path.parent / POLICY_FILE)

    def state_folder(self) -> Path:
        """The folder of the site's state; neither kit nor settings are read, so that it is found also where they are broken."""
        settings = self.config or self._kit_folder() / SETTINGS_FILE
        return (self.state or settings.absolute().parent / "state").absolute()

    def public_key(self) -> str:
        """The node's public key in the kit's folder, as OpenSSH text, whether or not the kit is still valid. Raises `DataError`."""
        return read_guarded(self._kit_folder() / "node.pub").decode("ascii", "replace").strip()

    def _kit_folder(self) -> Path:
        return (self.kit or _find_kit(self.site)).absolute()

    def _read(self) -> tuple[SiteKit, Path, SiteSettings]:
        kit = read_site_kit(self._kit_folder(), name=self.site)
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


def receipts_in(state: Path) -> Path:
    """Where the audit log lies in the folder of a site's state."""
    return state / "audit" / RECEIPTS_FILE
