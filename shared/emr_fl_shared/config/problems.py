"""What is wrong with settings, said in the user's language: where each value came from, what was got and expected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.messages import tr

Origin = tuple[str, Mapping[str, Any]]
"""Where settings came from (`--set`, `federation.toml` …) and what they set there, as plain data."""

_SHOWN = 80


def problem(item: Any, root: type[BaseModel], origins: Sequence[Origin]) -> EmrFlError:
    """One of pydantic's errors as ours. `origins`: strongest first; the last one is named where none holds the place."""
    path = [str(part) for part in item["loc"] if not str(part).startswith("function-")]
    where = origin_of(path, origins)
    if item["type"] == "extra_forbidden":
        known = known_keys(root, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        do = tr(f"did you mean {close[0]}?", f"是否想写 {close[0]}？") if close else ""
        if not close and known:
            do = tr("known here: ", "此处可用：") + ", ".join(known)
        return EmrFlError(tr("unknown setting", "未知的设置"), where=where, do=do)
    if item["type"] == "missing":
        return EmrFlError(tr("missing", "缺少"), where=where)
    got = "" if isinstance(item["input"], dict | list) else repr(item["input"])
    if len(got) > _SHOWN:
        got = got[: _SHOWN - 1] + "…"
    message, expected = _expectation(item)
    return EmrFlError(message, where=where or "settings", got=got, expected=expected)


def _expectation(item: Any) -> tuple[str, str]:
    """What is wrong, and what was expected instead."""
    kind, context = str(item["type"]), item.get("ctx", {})
    wrong_type = tr("wrong type", "类型不符")
    out_of_range = tr("out of range", "超出范围")
    for prefix, name in (
        ("int", tr("a whole number", "整数")),
        ("float", tr("a number", "数字")),
        ("bool", tr("true or false", "true 或 false")),
        ("model", tr("a section of settings", "一个设置段")),
        ("dict", tr("a section of settings", "一个设置段")),
        ("list", tr("a list", "列表")),
    ):
        if kind.startswith(f"{prefix}_"):
            return wrong_type, name
    match kind:
        case "string_type":
            return wrong_type, tr("text", "文本")
        case "finite_number":
            return out_of_range, tr("a finite number", "有限的数")
        case "greater_than":
            return out_of_range, f"> {context['gt']:g}"
        case "greater_than_equal":
            return out_of_range, f">= {context['ge']:g}"
        case "less_than":
            return out_of_range, f"< {context['lt']:g}"
        case "less_than_equal":
            return out_of_range, f"<= {context['le']:g}"
        case "literal_error":
            return tr("unknown value", "未知的取值"), str(context["expected"]).replace(" or ", ", ")
        case "string_pattern_mismatch":
            return tr("not of the expected form", "格式不符"), str(context["pattern"])
        case "too_long":
            return tr("too long", "过长"), tr(
                f"at most {context['max_length']} entries", f"至多 {context['max_length']} 项"
            )
        case "string_too_short":
            return tr("too short", "过短"), tr(
                f"at least {context['min_length']} characters", f"至少 {context['min_length']} 个字符"
            )
        case "string_too_long":
            return tr("too long", "过长"), tr(
                f"at most {context['max_length']} characters", f"至多 {context['max_length']} 个字符"
            )
    return str(context.get("error") or item["msg"]), str(context.get("expected", ""))


def origin_of(path: Sequence[str], origins: Sequence[Origin]) -> str:
    """The dotted place, after the name of what set it."""
    return ": ".join(part for part in (_origin(path, origins), ".".join(path)) if part)


def _origin(path: Sequence[str], origins: Sequence[Origin]) -> str:
    for name, tree in origins:
        place: Any = tree
        for part in path:
            if not isinstance(place, Mapping) or part not in place:
                break
            place = place[part]
        else:
            return name
    return origins[-1][0] if origins else ""


def known_keys(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the section at `path` below `root` knows; none if there is no such section."""
    model: Any = root
    for index, part in enumerate(path):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        if part not in model.model_fields:
            return []
        annotation = model.model_fields[part].annotation
        model = _model_in(annotation)
        if get_origin(annotation) is dict:
            # the next part is a name that the user chose (a site), the one after it a key of the section
            return known_keys(model, path[index + 2 :]) if model and len(path) > index + 1 else []
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType, dict):
        for inner in get_args(annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                return inner
    return annotation
