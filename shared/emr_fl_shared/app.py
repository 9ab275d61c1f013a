"""How a body and a payload travel in Flower's records, the same for both sides.

The payload is one `uint8` array in an `ArrayRecord`: Flower cuts arrays into content-addressed chunks of 5 MiB, bytes in a
`ConfigRecord` it does not.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr


class ReplyTorn(Exception):
    """A reply is there in part, and the rest of it never comes."""


_BODY = "body"
_PAYLOAD = "payload"


def to_records(body: str, payload: bytes | None = None) -> RecordDict:
    """Pack a JSON body and an optional payload."""
    records = RecordDict({_BODY: ConfigRecord({"json": body})})
    if payload is not None:
        records[_PAYLOAD] = ArrayRecord({"bytes": Array(np.frombuffer(payload, dtype=np.uint8))})
    return records


def from_records(records: RecordDict) -> tuple[str, bytes | None]:
    """Unpack; raises `FederationError` for anything but exactly what `to_records` makes."""
    if set(records) - {_BODY, _PAYLOAD} or _BODY not in records.config_records:
        raise FederationError(
            tr("malformed message", "消息格式不正确"),
            got=tr("other records than a body and a payload", "正文与载荷以外的记录"),
        )
    body = records.config_records[_BODY].get("json")
    if not isinstance(body, str):
        raise FederationError(
            tr("malformed message", "消息格式不正确"), where="body", expected=tr("JSON text", "JSON 文本")
        )
    if _PAYLOAD not in records:
        return body, None
    arrays = records.array_records.get(_PAYLOAD)
    if arrays is None or set(arrays) != {"bytes"}:
        raise FederationError(
            tr("malformed message", "消息格式不正确"),
            where="payload",
            expected=tr("one array of bytes", "一个字节数组"),
        )
    try:
        array = arrays["bytes"].numpy()
    except Exception:  # whatever bytes the other side put in place of an array
        array = None
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 1:
        raise FederationError(
            tr("malformed message", "消息格式不正确"),
            where="payload",
            expected=tr("one array of bytes", "一个字节数组"),
        )
    return body, array.tobytes()
