"""Typed values to the text that a person sees: identifiers keep their zeros, dates are ISO dates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal

from emr_fl_shared.sources.report import BINARY_VALUE

LIST = "\x1f"
"""Ends each value of a cell that holds a list, so that values are not split again at marks that stand in them."""

EXACT = 10**15
"""Spreadsheets keep 15 digits: from here on the last digits of a number are not what was typed."""


def value_text(value: object, repaired: Counter[str]) -> str:
    """The text of one value of a database, a Parquet file or a line of JSON; lists end each value with `LIST`.

    A value that is no text (bytes that are not UTF-8) becomes empty and is counted in `repaired`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else ""
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple | set):
        return "".join(value_text(item, repaired).replace(LIST, ";") + LIST for item in value)
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            repaired[BINARY_VALUE] += 1
            return ""
    return str(value)


def float_text(value: float) -> str:
    """A number as it is shown: `3.0` is `3`, `0.1 + 0.2` is `0.3`; what is not finite is empty."""
    if value != value or value in (float("inf"), float("-inf")):
        return ""
    if value == int(value) and abs(value) < EXACT:
        return str(int(value))
    return format(Decimal(format(value, ".15g")), "f")


def moment_text(moment: datetime) -> str:
    """`2026-03-01`, or `2026-03-01 08:30:00` where there is a time of day."""
    if moment.time() == time():
        return moment.date().isoformat()
    return moment.replace(microsecond=0, tzinfo=None).isoformat(sep=" ")
