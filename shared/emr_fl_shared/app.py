"""How a body and a payload travel in Flower's records, the same for both sides.

The payload is one `uint8` array in an `ArrayRecord`: Flower cuts arrays into content-addressed chunks of 5 MiB, bytes in a
`ConfigRecord` it does not.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from emr_fl_shared.errors import FederationError

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
        raise FederationError("malformed message", got="other records than a body and a payload")
    body = records.config_records[_BODY].get("json")
    if not isinstance(body, str):
        raise FederationError("malformed message", where="body", expected="JSON text")
    if _PAYLOAD not in records:
        return body, None
    arrays = records.array_records.get(_PAYLOAD)
    if arrays is None or set(arrays) != {"bytes"}:
        raise FederationError("malformed message", where="payload", expected="one array of bytes")
    array = arrays["bytes"].numpy()
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FederationError("malformed message", where="payload", expected="one array of bytes")
    return body, array.tobytes()
