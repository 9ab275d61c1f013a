"""Where a site keeps what: its kit, its own SITE.toml, and the folder of its state."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError, StorageError
from emr_fl_shared.kit import SiteKit, read_site_kit
from emr_fl_shared.messages import tr

PSEUDONYM_FILE = "pseudonym.key"
RECEIPTS_FILE = "egress.jsonl"
KEY_BYTES = 32


@dataclass(frozen=True)
class Place:
    """A site's kit and settings, read and checked."""

    kit: SiteKit
    settings: SiteSettings
    settings_path: Path
    state: Path

    @property
    def name(self) -> str:
        return self.kit.name

    @property
    def receipts(self) -> Path:
        """What left the site, a line each."""
        return self.state / "audit" / RECEIPTS_FILE

    def pseudonym_key(self) -> bytes:
        """The site's own random key for pseudonyms, made on first use; it never leaves."""
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
        folder = (self.kit or _find_kit(self.site)).absolute()
        kit = read_site_kit(folder, name=self.site)
        path = (self.config or kit.settings_path).absolute()
        settings = load_site_settings(path)
        state = (self.state or path.parent / "state").absolute()
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                tr("the folder of the site's state can't be made", "无法创建机构的状态目录"),
                where=str(state),
                got=error.strerror or "",
            ) from None
        return Place(kit, settings, path, state)


def _find_kit(site: str) -> Path:
    """`kits/sites/NAME`, `NAME`, or the working folder."""
    for folder in (Path("kits") / "sites" / site, Path(site), Path()):
        if (folder / "kit.json").is_file():
            return folder
    return Path(site)


def site_key(state: Path) -> bytes:
    """The key for pseudonyms and shifts of dates in the folder of a site's state, made on first use.

    Raises `PolicyError` if others can read it or it is damaged.
    """
    path = state / PSEUDONYM_FILE
    if not path.exists():
        write_durably(path, [secrets.token_bytes(KEY_BYTES)])
    if path.stat().st_mode & 0o077:
        raise PolicyError(
            tr("others can read this key", "该密钥可被他人读取"),
            where=str(path),
            expected="0600",
            do=f"chmod 600 {path}",
        )
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise PolicyError(
            tr("this key is damaged", "该密钥已损坏"),
            where=str(path),
            got=f"{len(key)} B",
            expected=f"{KEY_BYTES} B",
            do=tr("restore it, or delete it: a new one is made", "请恢复该文件，或将其删除，系统会重新生成"),
        )
    return key
