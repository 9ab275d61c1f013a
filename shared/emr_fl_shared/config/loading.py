"""Read settings: command line > environment > file > default; report every problem at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from emr_fl_shared.config.private import privacy_conflicts
from emr_fl_shared.config.problems import Origin, origin_of, problem
from emr_fl_shared.config.settings import LOCAL_LABELS_FILE, POLICY_FILE, Policy, Settings, SiteSettings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import SettingsError, UsageError
from emr_fl_shared.messages import tr

ENVIRONMENT = "EMR_FL_SET__…"
ENVIRONMENT_PREFIX = "EMR_FL_SET__"
"""`EMR_FL_SET__TRAINING__EPOCHS=2` sets `training.epochs`; the double underscore stands for the dot, and case does not count."""


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file. Raises `SettingsError` that names the file and the line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(
            tr("no such settings file", "没有这个设置文件"),
            where=str(path),
            do=tr("check the path", "请检查路径"),
        ) from None
    except OSError as error:
        raise SettingsError(
            tr("the settings file can't be read", "设置文件无法读取"),
            where=str(path),
            got=error.strerror or "",
        ) from None
    return _toml(raw, str(path))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` → `{"a": {"b": 1}, "c": "x"}`; a value that is no TOML value is taken as text."""
    tree: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not separator or not all(path):
            raise UsageError(
                tr("not an assignment", "不是赋值"),
                where="--set",
                got=assignment,
                expected="section.key=value",
            )
        _merge_at(tree, path, _toml_value(value.strip()))
    return tree


def environment_assignments(
    known: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Settings given by environment variables that begin with `EMR_FL_SET__`, to be laid over the tree `known`.

    A part of a variable's name that is a key of `known` but for its case takes that key's spelling (names of sites may have
    capitals); any other one is taken in lower case. Raises `UsageError` where several keys differ in case only and the
    variable spells none of them.
    """
    tree: dict[str, Any] = {}
    for name, value in sorted((environment if environment is not None else os.environ).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = _spelt_as_in(known, [part for part in name[len(ENVIRONMENT_PREFIX) :].split("__") if part])
            if path:
                _merge_at(tree, path, _toml_value(value))
    return tree


def load_settings(
    path: Path | None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from a file (or the defaults), the environment and `overrides`, strongest last."""
    tree: dict[str, Any] = read_toml(path) if path else {}
    given = environment_assignments(merge(tree, overrides or {}), environment)
    return settings_from(
        merge(merge(tree, given), overrides or {}),
        where=str(path) if path else "",
        over=[("--set", overrides or {}), (ENVIRONMENT, given)],
    )


def settings_from(tree: Mapping[str, Any], *, where: str = "", over: Sequence[Origin] = ()) -> Settings:
    """Validate plain data from `where`. `over`: what was laid over the file, strongest first, so that a problem names where it
    came from. Raises one `SettingsError` that lists every problem with its dotted place."""
    origins = [*over, (where, {})]
    try:
        settings = Settings.model_validate(dict(tree))
    except ValidationError as error:
        raise SettingsError([problem(item, Settings, origins) for item in error.errors()]) from None
    if conflicts := privacy_conflicts(settings):
        raise SettingsError(
            [conflict.problem(origin_of(conflict.place.split("."), origins)) for conflict in conflicts]
        )
    return settings


def load_site_settings(path: Path) -> SiteSettings:
    """A site's own file (`SITE.toml`): the block that `simulate` calls `[sites.NAME]`.

    A `labels.local.toml` and a `POLICY.toml` beside it count unless the settings name others.
    """
    try:
        site = SiteSettings.model_validate(read_toml(path))
    except ValidationError as error:
        raise SettingsError(
            [problem(item, SiteSettings, [(str(path), {})]) for item in error.errors()]
        ) from None
    for key, name in (("local_labels", LOCAL_LABELS_FILE), ("policy_file", POLICY_FILE)):
        beside = path.parent / name
        if getattr(site, key) is None and (beside.exists() or beside.is_symlink()):
            site = site.model_copy(update={key: name})
    return site.with_paths_from(path.parent)


def policy_from(data: bytes, *, where: str) -> Policy:
    """The policy in the bytes of a `POLICY.toml`, whose keys are those of `[policy]`. Raises `SettingsError` with every problem."""
    try:
        return Policy.model_validate(_toml(data, where))
    except ValidationError as error:
        raise SettingsError([problem(item, Policy, [(where, {})]) for item in error.errors()]) from None


def write_settings(settings: Settings, path: Path) -> None:
    """Write `settings` as TOML, the whole file or none. Raises `StorageError`."""
    write_durably(path, [tomli_w.dumps(settings.as_toml_dict()).encode()])


def _toml(raw: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SettingsError(
            tr("the settings file is not UTF-8 text", "设置文件不是 UTF-8 文本"), where=where
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            tr("the settings file is not valid TOML", "设置文件不是合法的 TOML"),
            where=where,
            got=str(error),
        ) from None


def _spelt_as_in(known: Mapping[str, Any], parts: Sequence[str]) -> list[str]:
    """`parts` as the keys of `known` are spelt, level by level."""
    path: list[str] = []
    level: Any = known
    for part in parts:
        keys = list(level) if isinstance(level, Mapping) else []
        found = [part] if part in keys else [key for key in keys if key.casefold() == part.casefold()]
        if len(found) > 1:
            raise UsageError(
                tr("several names differ in case only", "多个名称仅大小写不同"),
                where=ENVIRONMENT,
                got=".".join([*path, part]),
                expected=" | ".join(found),
                do=tr("spell it in the variable as in the settings", "请在变量名中按设置里的大小写书写"),
            )
        path.append(found[0] if found else part.lower())
        level = level.get(path[-1]) if isinstance(level, Mapping) else None
    return path


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge_at(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise UsageError(tr("a value and a section at once", "既是值又是段"), where=".".join(path))
        tree = below
    tree[path[-1]] = value


def merge(tree: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A new tree: `tree` with everything that `other` sets laid over it."""
    merged = dict(tree)
    for key, value in other.items():
        below = merged.get(key)
        merged[key] = (
            merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
        )
    return merged


def differences(one: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> list[str]:
    """Dotted places where two settings trees differ."""
    found = []
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{place}{key}.")
        elif left != right:
            found.append(f"{place}{key}")
    return found
