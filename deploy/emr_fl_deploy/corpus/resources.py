"""Reading the corpus's own resource files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster where it was built


@cache
def read_yaml(name: str) -> Any:
    """A YAML file of `resources/corpus`."""
    text = (files("emr_fl_deploy") / "resources" / "corpus" / name).read_text("utf-8")
    return yaml.load(text, Loader=_Loader)


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of a tab-separated file of `resources/corpus`; lines that begin with # are comments."""
    text = (files("emr_fl_deploy") / "resources" / "corpus" / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    header = lines[0].split("\t")
    return tuple(dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:])
