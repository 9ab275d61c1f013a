"""A run's `results.json`, read with care, and its values by JSON Pointer (RFC 6901)."""

from __future__ import annotations

import json
import math
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

RESULTS = "results.json"
SETTINGS = "settings.toml"
SCHEMA = 1


def read_results(run: Path) -> dict[str, Any]:
    """The results of a run folder; NaN and infinities become `None`.

    Raises DataError: no such file, not JSON, not an object, or of a newer schema.
    """
    path = run / RESULTS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            tr("the run folder has no results yet", "运行目录中还没有结果"),
            where=str(path),
            do=tr(
                "give the folder of a finished run; an interrupted one is finished with --resume",
                "请给出已完成的运行目录；中断的运行可用 --resume 完成",
            ),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            tr("can't be read", "无法读取"),
            where=str(path),
            got=getattr(error, "strerror", None) or "not UTF-8",
        ) from error
    try:
        results = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        at = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise DataError(tr("not valid JSON", "不是有效的 JSON"), where=str(path), got=at) from None
    if not isinstance(results, dict):
        raise DataError(
            tr("not the results of a run", "不是一次运行的结果"),
            where=str(path),
            got=type(results).__name__,
            expected="object",
        )
    schema = results.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise DataError(
            tr("results of a newer version of emr-fl", "由更新版本的 emr-fl 生成的结果"),
            where=f"{path}: schema",
            got=str(schema)[:20],
            expected=f"<= {SCHEMA}",
        )
    finite: dict[str, Any] = without_nonfinite(results)
    return finite


def read_settings(run: Path) -> dict[str, Any]:
    """The settings of a run folder; empty when there is no such file. Raises DataError when it is not TOML."""
    path = run / SETTINGS
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            tr("can't be read", "无法读取"), where=str(path), got=type(error).__name__, expected="TOML"
        ) from None


def without_nonfinite(value: Any) -> Any:
    """A copy with `None` where there was NaN or an infinity, and with printable text only."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return value


def printable(text: str) -> str:
    """The text without control characters, lone surrogates and direction overrides, which could disguise a name."""
    return "".join(
        "�" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in "\n\t\u200d" else char
        for char in text
    )


def pointer(*parts: str | int) -> str:
    """The JSON Pointer to a place in the results."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class Results:
    """Values of `results.json` by JSON Pointer. Whatever is not there, or not of the kind asked for, is `None`."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.root: Mapping[str, Any] = without_nonfinite(results)

    def get(self, *parts: str | int) -> Any:
        """The value at a place, given in parts."""
        place: Any = self.root
        for part in parts:
            if isinstance(place, Mapping):
                place = place.get(str(part))
            elif isinstance(place, list) and isinstance(part, int) and 0 <= part < len(place):
                place = place[part]
            else:
                return None
        return place

    def number(self, *parts: str | int) -> float | int | None:
        """The number at a place."""
        value = self.get(*parts)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, *parts: str | int) -> str:
        """The text at a place; empty when there is none."""
        value = self.get(*parts)
        return value if isinstance(value, str) else ""

    def mapping(self, *parts: str | int) -> Mapping[str, Any]:
        """The object at a place; empty when there is none."""
        value = self.get(*parts)
        return value if isinstance(value, Mapping) else {}

    def items(self, *parts: str | int) -> list[Any]:
        """The array at a place; empty when there is none."""
        value = self.get(*parts)
        return value if isinstance(value, list) else []
