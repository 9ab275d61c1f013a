"""What a member must not forget: its session, sealed, and which questions its updates were already summed for.

One session at a time. A new one takes the place of the last, whose secrets are gone then: nobody can open the last one with this
site's help any more, and a masked vector that the server still has of it stays noise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from emr_fl_client.dataset.sealed import Unreadable, seal, unseal
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.secure_aggregation.bodies import Advertisement
from emr_fl_shared.secure_aggregation.parameters import Parameters
from emr_fl_shared.secure_aggregation.statements import Setting

_SESSION, _LEDGER = "secure-session.sealed", "secure-ledger.json"
_PURPOSE = "secure session"


class Secrets(BaseModel):
    """Private keys and seed, hexadecimal; `own_shares` is what the member would have sent itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cipher_key: str
    mask_key: str
    seed: str
    own_shares: str = ""


class GivenAnswer(BaseModel):
    """The digest of a question and the answer that it got."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    question: str
    reply: str


class Session(BaseModel):
    """Where a member stands in a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    round: int
    session: str
    parameters: Parameters
    secrets: Secrets | None
    """`None` once the shares were revealed."""
    members: list[Advertisement] = []
    node_keys: dict[str, str] = {}
    transcript: str = ""
    received: dict[str, str] = {}
    """Participant → what it encrypted for this member."""
    question: str = ""
    sha256: str = ""
    """Of the masked vector that left."""
    survivors: list[str] = []
    answers: dict[str, GivenAnswer] = {}

    @property
    def setting(self) -> Setting:
        return Setting(self.run, self.round, self.session, self.parameters)


class SessionMemory:
    """The files in `folder`; the session is sealed with the site's `key`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    def session(self) -> Session | None:
        """The session that is going on; `None` if there is none or it can't be read: then the server has to begin a new one."""
        try:
            return Session.model_validate_json(unseal(self._folder / _SESSION, self._key, _PURPOSE))
        except (OSError, Unreadable, ValidationError):
            return None

    def keep(self, session: Session) -> None:
        """Put it in the place of the last one. Raises StorageError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = session.model_dump_json().encode()
        write_durably(self._folder / _SESSION, seal([content], self._key, _PURPOSE))

    def spent(self, question: str) -> bool:
        """Whether the answer to this question was already part of a sum."""
        return question in self._ledger()["spent"]

    def spend(self, question: str) -> None:
        """Remember that it is, before anything leaves that lets the server have the sum."""
        ledger = self._ledger()
        if question not in ledger["spent"]:
            self._write({**ledger, "spent": [*ledger["spent"], question]})

    def revision(self, federation_id: str) -> int:
        """The newest registry of this federation that the site has seen."""
        return int(self._ledger()["revisions"].get(federation_id, 0))

    def saw(self, federation_id: str, revision: int) -> None:
        """Remember it: a registry in which a key is not yet revoked must not come back."""
        ledger = self._ledger()
        if revision > int(ledger["revisions"].get(federation_id, 0)):
            self._write({**ledger, "revisions": {**ledger["revisions"], federation_id: revision}})

    def _ledger(self) -> dict[str, Any]:
        path = self._folder / _LEDGER
        try:
            ledger = json.loads(path.read_bytes())
            if isinstance(ledger["spent"], list) and isinstance(ledger["revisions"], dict):
                return dict(ledger)
        except FileNotFoundError:
            return {"spent": [], "revisions": {}}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise PolicyError(
            tr("the list of updates that were summed is damaged", "已参与求和的更新清单已损坏"),
            where=str(path),
            do=tr(
                "restore it; without it an update could be summed twice, and the difference would show a single site's",
                "请恢复该文件；缺少它时同一更新可能被求和两次，其差值会暴露单个机构的更新",
            ),
        )

    def _write(self, ledger: dict[str, Any]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._folder / _LEDGER, [json.dumps(ledger).encode()])
