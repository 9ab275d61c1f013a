"""The split ledger: which patients this site trains on and which it validates on, kept for good.

A patient who was once trained on must never be validated on, in no later round, run or federation of this site, and with no
later export. So the sides are written down, by pseudonym, in a sealed file; only patients who are not in it are placed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from emr_fl_client.dataset.sealed import Unreadable, seal, unseal
from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

FOLDER = "dataset"
"""In the folder of a site's state: where the ledger and the cache are."""
LEDGER = "split.ledger"
_PURPOSE = "split ledger"
_VERSION = 1


class SplitLedger:
    """The ledger in `folder`, sealed with `key`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / LEDGER
        self._key = key

    def read(self) -> dict[str, bool]:
        """Patient's pseudonym → whether the patient validates; empty where there is no ledger yet.

        Raises `PolicyError` if it is damaged or was made with another key: it is never built anew by itself, because
        patients would change sides. `StorageError` if it can't be read.
        """
        try:
            content = unseal(self.path, self._key, _PURPOSE)
        except FileNotFoundError:
            return {}
        except Unreadable:
            raise self._refused() from None
        except OSError as error:
            raise storage_error(error, self.path) from error
        found = json.loads(content)  # authenticated: it is what this class wrote
        if found.get("version") != _VERSION:
            raise PolicyError(
                tr("a split ledger of another version of emr-fl", "该划分账本来自其他版本的 emr-fl"),
                where=str(self.path),
                got=str(found.get("version")),
                expected=str(_VERSION),
                do=tr("use the version that wrote it", "请使用写入它的版本"),
            )
        return {
            **dict.fromkeys(found["training"], False),
            **dict.fromkeys(found["validation"], True),
        }

    def write(self, sides: Mapping[str, bool]) -> None:
        """Replace the ledger durably, mode 0600. Raises `StorageError`."""
        content = {
            "version": _VERSION,
            "training": sorted(patient for patient, validates in sides.items() if not validates),
            "validation": sorted(patient for patient, validates in sides.items() if validates),
        }
        write_durably(self.path, seal([json.dumps(content).encode()], self._key, _PURPOSE))

    def _refused(self) -> PolicyError:
        return PolicyError(
            tr(
                "the split ledger is damaged, or was made with another key",
                "划分账本已损坏，或由其他密钥生成",
            ),
            where=str(self.path),
            do=tr(
                "restore it and the key beside it from one backup; only if no model that this site trained will be scored "
                "here again, delete it: all patients are split anew",
                "请从同一备份恢复账本与密钥；仅当本机构训练过的模型不再于此评估时，才可删除账本：所有患者将重新划分",
            ),
        )
