"""JSON Lines: one object a line. Read twice in pieces: once for the keys, once for the rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.encoding import TextFile, find_encoding
from emr_fl_shared.sources.files import RecordFile
from emr_fl_shared.sources.report import BROKEN_LINE
from emr_fl_shared.sources.tabular import Row, Table, empty
from emr_fl_shared.sources.values import value_text

MOST_KEYS = 2048


def read_json_lines(file: RecordFile) -> Table:
    """The table of a .jsonl or .ndjson file: its columns are all keys, in the order in which they first occur.

    Numbers stay as they are written; the values of a list stay apart. A line that is no JSON object is left out under its
    number. Raises `DataError` for an empty file, what `find_encoding` refuses, more than `MOST_KEYS` keys, or no object at all.
    """
    text = find_encoding(file)
    where = str(file.path)
    header: dict[str, int] = {}
    first_broken = filled = 0
    for number, line in enumerate(text.lines(), 1):
        if not line.strip("﻿ \t\r\n\v\f"):
            continue
        filled += 1
        parsed = _object(line)
        if parsed is None:
            first_broken = first_broken or number
            continue
        for key in parsed:
            header.setdefault(key, len(header))
        if len(header) > MOST_KEYS:
            raise DataError(
                tr(
                    f"more than {MOST_KEYS} different keys: not one table of records",
                    f"不同的键超过 {MOST_KEYS} 个：不是一张记录表",
                ),
                where=where,
                do=tr("export one object a line with the same keys", "请每行导出一个键相同的对象"),
            )
    if not filled:
        raise empty(where)
    if not header:
        raise DataError(
            tr("no line holds a JSON object with keys", "没有一行是带键的 JSON 对象"),
            where=tr(f"{where}, line {first_broken or 1}", f"{where}，第 {first_broken or 1} 行"),
            expected='{"主诉": "…", "诊断编码": ["…"]}',
            do=tr(
                "write one object a line, without a list around them", "请每行写一个对象，外面不要加方括号"
            ),
        )
    repaired: Counter[str] = Counter()
    return Table(
        where,
        "jsonl",
        tuple(header),
        _rows(text, tuple(header), repaired),
        encoding=text.encoding,
        repaired=repaired,
    )


def _rows(text: TextFile, header: tuple[str, ...], repaired: Counter[str]) -> Iterator[Row]:
    for number, line in enumerate(text.lines(), 1):
        if not line.strip("﻿ \t\r\n\v\f"):
            yield Row(number, ())
            continue
        parsed = _object(line)
        if parsed is None:
            yield Row(number, (line.rstrip("\r\n"),), BROKEN_LINE)
        else:
            yield Row(number, [value_text(parsed[key], repaired) if key in parsed else "" for key in header])


def _object(line: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line.lstrip("﻿"), parse_int=str, parse_float=str, parse_constant=lambda _: "")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
