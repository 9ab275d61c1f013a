"""The kill switch of a site: while a file `STOP` lies in the folder of its state, nothing leaves but the refusal that says so."""

from __future__ import annotations

from pathlib import Path

from emr_fl_shared.durable import storage_error
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

STOP_FILE = "STOP"


class KillSwitch:
    """The file in a site's folder `state`; whoever can write there can stop the site, with or without emr-fl."""

    def __init__(self, state: Path) -> None:
        self.path = state / STOP_FILE

    @property
    def stopped(self) -> bool:
        """Whether it is on; also where that can't be told, as long as something lies under the name."""
        return self.path.exists() or self.path.is_symlink()

    def check(self) -> None:
        """Raises `PolicyError` while it is on."""
        if self.stopped:
            raise PolicyError(
                tr("the site has stopped everything that leaves", "本机构已停止一切外传"),
                where=str(self.path),
                do=tr(
                    "emr-fl client policy resume --site NAME, once it may go on",
                    "可以继续时执行 emr-fl client policy resume --site 机构名",
                ),
            )

    def stop(self) -> bool:
        """Switch it on; whether it was off. Raises `StorageError`."""
        if self.stopped:
            return False
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        return True

    def resume(self) -> bool:
        """Switch it off; whether it was on. Raises `StorageError`."""
        was = self.stopped
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error
        return was
