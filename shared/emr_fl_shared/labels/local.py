"""A site's own mapping, `labels.local.toml`: local codes and local names of diagnoses -> labels of the federation.

    taxonomy = "outpatient-50"

    [labels]
    "ZD-0017" = "高血压"        # a label's Chinese name, English name or id
    "血压高"  = "高血压"
    "复诊取药" = "ignore"       # known, and no label

A value is compared as a whole, without case, width and blanks. It comes before ICD-10 and before the dictionary of diagnoses.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from emr_fl_shared.errors import EmrFlError, SettingsError
from emr_fl_shared.labels.mapping import LocalLabels
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.labels.taxonomy import COLUMN, Taxonomy
from emr_fl_shared.messages import tr

IGNORE = "ignore"
_KEYS = ("taxonomy", "labels")


@dataclass(frozen=True)
class LocalMapping:
    """A mapping as read; `where` names its file, `digest` is the SHA-256 (hex) of its bytes."""

    where: str
    taxonomy: str
    entries: Mapping[str, str] = field(repr=False)
    digest: str

    def summary(self) -> str:
        """Counts and the digest, never a value."""
        ignored = sum(label == IGNORE for label in self.entries.values())
        mapped = len(self.entries) - ignored
        return tr(
            f"{mapped} values to labels of {self.taxonomy}, {ignored} ignored; SHA-256 {self.digest}",
            f"{mapped} 个值映射到 {self.taxonomy} 的标签，忽略 {ignored} 个；SHA-256 {self.digest}",
        )

    def bind(self, taxonomy: Taxonomy) -> LocalLabels:
        """The decisions for this label set. Raises `SettingsError` with every label that it does not have, or if the mapping was
        made for another label set."""
        if taxonomy.name == COLUMN or taxonomy.name != self.taxonomy:
            raise SettingsError(
                tr("the local mapping is for another label set", "本地映射针对的是另一标签体系"),
                where=f"{self.where}, taxonomy",
                got=self.taxonomy,
                expected=taxonomy.name,
                do=tr(
                    "map to the labels of the federation and sign again; labels taken from the data can't be mapped",
                    "请映射到联邦的标签并重新签名；取自数据的标签不能映射",
                ),
            )
        problems: list[EmrFlError] = []
        bound: dict[str, int | None] = {}
        for number, (value, label) in enumerate(self.entries.items(), 1):
            index = None if label == IGNORE else taxonomy.index(label)
            if index is None and label != IGNORE:
                problems.append(
                    SettingsError(
                        tr("no such label", "没有这个标签"),
                        where=f"{self.where}, [labels] " + tr(f"entry {number}", f"第 {number} 项"),
                        got=label[:80],
                        expected=tr(
                            f'a label of {taxonomy.name}, or "{IGNORE}"',
                            f'{taxonomy.name} 的标签，或 "{IGNORE}"',
                        ),
                    )
                )
            bound[fold_name(value)] = index
        if problems:
            raise SettingsError(problems)
        return bound


def parse_local_mapping(data: bytes, *, where: str) -> LocalMapping:
    """The mapping in the bytes of a file. Raises `SettingsError`; no message holds a local code or name."""
    try:
        tree = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SettingsError(
            tr("the local mapping is not UTF-8 text", "本地映射文件不是 UTF-8 文本"), where=where
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            tr("the local mapping is not valid TOML", "本地映射不是合法的 TOML"),
            where=where,
            got=_without_values(str(error)),
            do=tr(
                'one line an entry: "local code or name" = "label"; each value once',
                '每行一项："本地编码或名称" = "标签"；每个值只能出现一次',
            ),
        ) from None
    labels = tree.get("labels")
    unknown = [key for key in tree if key not in _KEYS]
    if (
        unknown
        or not isinstance(tree.get("taxonomy"), str)
        or not isinstance(labels, dict)
        or not labels
        or not all(isinstance(label, str | int) and not isinstance(label, bool) for label in labels.values())
    ):
        raise SettingsError(
            tr("this is not a local mapping", "不是本地映射文件"),
            where=where,
            expected='taxonomy = "outpatient-50", [labels] "…" = "…"',
        )
    seen: dict[str, int] = {}
    problems: list[EmrFlError] = []
    for number, value in enumerate(labels, 1):
        folded = fold_name(value)
        first = seen.setdefault(folded, number)
        if not folded or first != number:
            problems.append(
                SettingsError(
                    tr("an empty value", "空值")
                    if not folded
                    else tr(
                        "the same value twice (case, width and blanks do not count)",
                        "同一值出现两次（不区分大小写、全半角与空白）",
                    ),
                    where=f"{where}, [labels] " + tr(f"entry {number}", f"第 {number} 项"),
                    got="" if not folded else tr(f"as entry {first}", f"与第 {first} 项相同"),
                )
            )
    if problems:
        raise SettingsError(problems)
    entries = {value: str(label).strip() for value, label in labels.items()}
    return LocalMapping(where, tree["taxonomy"], entries, hashlib.sha256(data).hexdigest())


def _without_values(message: str) -> str:
    """Where TOML stopped being TOML: the parser's own words may quote a key."""
    _, found, place = message.rpartition("(at ")
    return place.rstrip(")") if found else ""
