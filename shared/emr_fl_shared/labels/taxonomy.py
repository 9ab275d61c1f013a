"""The label set of a federation: names, ICD-10 ranges, and the label of a code."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from emr_fl_shared.errors import DataError, EmrFlError, SettingsError
from emr_fl_shared.labels.chapters import chapters, chapters_reached, main_chapter
from emr_fl_shared.labels.icd10 import UNMAPPED, category_index, parse_code, parse_range
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.messages import tr

OUTPATIENT = "outpatient-50"
BUILT_IN = (OUTPATIENT,)
COLUMN = "column"
_RANGE_SEPARATORS = re.compile(r"[,;，；、|\s]+")
_RANGE_HEADERS = ("icd10_ranges", "icd10", "ranges", "icd10 ranges", "icd", "codes")


@dataclass(frozen=True, slots=True)
class Label:
    """One category. `name` is the stable name used in results (the Chinese one); `chapter` the Roman numeral of ICD-10."""

    id: int
    name: str
    zh: str
    en: str
    ranges: tuple[str, ...] = ()
    chapter: str = ""


@dataclass(frozen=True, slots=True)
class CodeResult:
    """The label index of a code, or `None` with the reason; `other` is the category of an asterisk half."""

    index: int | None
    category: str = ""
    reason: str = ""
    other: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Taxonomy:
    """The labels in their order: index in the model's output = position here."""

    name: str
    version: str
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """The stable names, in order."""
        return [label.name for label in self.labels]

    @property
    def chapters(self) -> list[str]:
        """The chapter of ICD-10 of each label, in order; empty where a label has none."""
        return [label.chapter for label in self.labels]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) of everything that decides which label a record gets; two sites must agree on it."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()

    @cached_property
    def _by_name(self) -> dict[str, int]:
        table: dict[str, int] = {}
        for position, label in enumerate(self.labels):
            table.setdefault(fold_name(label.zh), position)
            table.setdefault(fold_name(label.name), position)
        for position, label in enumerate(self.labels):
            table.setdefault(fold_name(label.en), position)
        if self.name != COLUMN:
            # In a label set taken from the data a bare number is a name, never an id.
            for position, label in enumerate(self.labels):
                table.setdefault(str(label.id), position)
        table.pop("", None)
        return table

    @cached_property
    def _by_category(self) -> dict[int, int]:
        table: dict[int, int] = {}
        for position, label in enumerate(self.labels):
            for text in label.ranges:
                first, last = parse_range(text)
                for category in range(first, last + 1):
                    table[category] = position
        return table

    def index(self, name: str) -> int | None:
        """Position of the label with this Chinese name, English name or id; `None` if there is none."""
        return self._by_name.get(fold_name(name))

    def of_code(self, code: str) -> CodeResult:
        """The label of an ICD-10 code as a hospital writes it. Never raises."""
        parsed = parse_code(code)
        if not parsed.category:
            return CodeResult(None, reason=parsed.reason)
        position = self._by_category.get(category_index(parsed.category))
        reason = UNMAPPED if position is None else ""
        return CodeResult(position, parsed.category, reason, parsed.other, parsed.mark)

    def to_json(self) -> str:
        """The taxonomy as canonical JSON: the same text on every machine."""
        return json.dumps(
            {"name": self.name, "version": self.version, "labels": [asdict(label) for label in self.labels]},
            ensure_ascii=False,
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> Taxonomy:
        """Inverse of `to_json`; takes the text or the parsed object. Raises `DataError` if it is not one."""
        try:
            value = json.loads(text) if isinstance(text, str) else text
            labels = tuple(
                Label(
                    int(item["id"]),
                    str(item["name"]),
                    str(item["zh"]),
                    str(item["en"]),
                    tuple(str(part) for part in item["ranges"]),
                    str(item.get("chapter", "")),
                )
                for item in value["labels"]
            )
            return cls(str(value["name"]), str(value["version"]), labels)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(tr("this is not a label set in JSON", "不是 JSON 格式的标签体系")) from None


def load_taxonomy(spec: str | Path) -> Taxonomy:
    """A label set: built in (`outpatient-50`), or a CSV or TOML file with id, zh, en and ICD-10 ranges.

    CSV: columns `id,zh,en,icd10_ranges,chapter`, ranges separated by commas inside quotation marks; lines `# version: 2`
    above the header. TOML: `name`, `version` and `[[labels]]` with `id`, `zh`, `en`, `icd10 = ["I10-I15"]`, `chapter`.
    `en`, ranges and chapter may be left out; the chapter is then the one that holds most of the ranges' categories. Raises `SettingsError` with all problems at once.
    """
    if isinstance(spec, str) and spec in BUILT_IN:
        return _built_in(spec)
    path = Path(spec)
    if str(spec) == COLUMN:
        raise SettingsError(
            tr(
                "the label set “column” is made from the data, not loaded",
                "标签体系“column”由数据生成，不能加载",
            ),
            where="labels.taxonomy",
        )
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(
            tr("the label set is not UTF-8", "标签体系文件不是 UTF-8"), where=f"labels.taxonomy, {path}"
        ) from None
    except OSError:
        raise SettingsError(
            tr("no such label set", "没有这个标签体系"),
            where="labels.taxonomy",
            got=str(spec),
            expected=tr(
                f'{", ".join(BUILT_IN)}, "column", or a CSV / TOML file',
                f'{"、".join(BUILT_IN)}、"column" 或 CSV / TOML 文件',
            ),
        ) from None
    if path.suffix.lower() == ".toml":
        return _from_toml(text, path)
    return _from_csv(text, path.stem, f"labels.taxonomy, {path}")


def column_taxonomy(names: Iterable[str]) -> Taxonomy:
    """The label set of labels as they stand in the data: sorted, each once (names that differ in width or blanks are one).

    Raises `DataError` if no name is left.
    """
    kept: dict[str, str] = {}
    for name in sorted({name.strip() for name in names}):
        if name:
            kept.setdefault(fold_name(name), name)
    if not kept:
        raise DataError(tr("no label in the data", "数据中没有标签"), where="labels.taxonomy = column")
    ordered = sorted(kept.values())
    labels = tuple(Label(number, name, name, name) for number, name in enumerate(ordered, 1))
    return Taxonomy(COLUMN, "1", labels)


def check_several(taxonomy: Taxonomy) -> None:
    """Raises `DataError` if there are fewer than two labels."""
    if len(taxonomy) < 2:
        raise DataError(
            tr("there is only one label: nothing to tell apart", "只有一个标签，无从区分"),
            where="labels",
            got=str(len(taxonomy)),
            expected=">= 2",
        )


def check_chapters(taxonomy: Taxonomy) -> None:
    """Raises `SettingsError` if no two labels share an ICD-10 chapter: there is no coarser level to learn."""
    named = [chapter for chapter in taxonomy.chapters if chapter]
    if len(set(named)) == len(named):
        raise SettingsError(
            tr("no two labels share an ICD-10 chapter", "没有两个标签属于同一 ICD-10 章"),
            where="training.loss.coarse",
            got=f"labels.taxonomy = {taxonomy.name}",
            expected=tr("a label set with ICD-10 ranges", "带 ICD-10 范围的标签体系"),
            do=tr("set training.loss.coarse = 0", "请设 training.loss.coarse = 0"),
        )


@cache
def _built_in(name: str) -> Taxonomy:
    resource = files("emr_fl_shared") / "resources" / "labels" / f"{name}.csv"
    return _from_csv(resource.read_text("utf-8"), name, name)


@dataclass(frozen=True, slots=True)
class _Row:
    """A label as its file has it; `place` names it in problems."""

    place: str
    id: str
    zh: str
    en: str
    ranges: list[str]
    chapter: str


def _from_csv(text: str, name: str, where: str) -> Taxonomy:
    meta: dict[str, str] = {}
    lines: list[str] = []
    for line in io.StringIO(text):
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            meta[key.strip().lower()] = value.strip()
        else:
            lines.append(line)
    reader = csv.DictReader(lines)
    headers = {(header or "").strip().lower(): header for header in reader.fieldnames or ()}
    if "id" not in headers or "zh" not in headers:
        raise SettingsError(
            tr("the label set has no columns id and zh", "标签体系缺少 id 和 zh 列"),
            where=where,
            got=", ".join(headers) or tr("nothing", "空"),
            expected="id, zh, en, icd10_ranges",
        )
    range_header = next((headers[key] for key in _RANGE_HEADERS if key in headers), None)
    rows = []
    for number, row in enumerate(reader, 2):
        cells = {key: (row.get(header) or "").strip() for key, header in headers.items()}
        if not any(cells.values()):
            continue
        ranges = _RANGE_SEPARATORS.split((row.get(range_header) or "").strip()) if range_header else []
        rows.append(
            _Row(
                f"row {number}",
                cells["id"],
                cells["zh"],
                cells.get("en", ""),
                [part for part in ranges if part],
                cells.get("chapter", ""),
            )
        )
    return _build(meta.get("name", name), meta.get("version", "1"), rows, where)


def _from_toml(text: str, path: Path) -> Taxonomy:
    where = f"labels.taxonomy, {path}"
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            tr("the label set is not TOML", "标签体系不是有效的 TOML"), where=where, got=str(error)
        ) from None
    items = value.get("labels")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SettingsError(
            tr("the label set has no [[labels]]", "标签体系缺少 [[labels]]"),
            where=where,
            expected="[[labels]] id, zh, en, icd10",
        )
    rows = []
    for number, item in enumerate(items):
        ranges: Any = next((item[key] for key in _RANGE_HEADERS if key in item), [])
        listed = (
            _RANGE_SEPARATORS.split(ranges) if isinstance(ranges, str) else [str(part) for part in ranges]
        )
        rows.append(
            _Row(
                f"labels[{number}]",
                str(item.get("id", "")),
                str(item.get("zh", "")),
                str(item.get("en", "")),
                [p for p in listed if p],
                str(item.get("chapter", "")),
            )
        )
    return _build(str(value.get("name", path.stem)), str(value.get("version", "1")), rows, where)


def _build(name: str, version: str, rows: Sequence[_Row], where: str) -> Taxonomy:
    """Labels of the rows. Raises `SettingsError` with every problem found."""
    problems: list[EmrFlError] = []

    def problem(place: str, message: str, got: str = "", expected: str = "") -> None:
        problems.append(SettingsError(message, where=f"{where}, {place}", got=got, expected=expected))

    labels: list[Label] = []
    ids: dict[int, str] = {}
    names: dict[str, str] = {}
    owner: dict[int, str] = {}
    for row in rows:
        place, raw_id, zh, en = row.place, row.id, row.zh, row.en
        if not raw_id.isdigit():
            problem(place, tr("the id is not a number", "id 不是数字"), raw_id or "∅", "1, 2, 3 …")
            continue
        number = int(raw_id)
        if number in ids:
            problem(place, tr("the same id twice", "id 重复"), f"{number} ({ids[number]})")
        ids.setdefault(number, place)
        if not zh.strip():
            problem(place, tr("a label without a Chinese name (zh)", "标签缺少中文名（zh）"))
            continue
        folded = fold_name(zh)
        if folded in names:
            problem(place, tr("the same name twice", "名称重复"), f"{zh} ({names[folded]})")
        names.setdefault(folded, place)
        good: list[str] = []
        for text in row.ranges:
            try:
                first, last = parse_range(text)
            except ValueError:
                problem(place, tr("a bad ICD-10 range", "ICD-10 范围有误"), text, "I10-I15, E78, A15-B99")
                continue
            taken = next((category for category in range(first, last + 1) if category in owner), None)
            if taken is not None:
                code = f"{chr(ord('A') + taken // 100)}{taken % 100:02d}"
                problem(place, tr("ranges overlap", "范围重叠"), f"{text} ({code}: {owner[taken]})")
            for category in range(first, last + 1):
                owner.setdefault(category, place)
            good.append(text.strip())
        chapter = row.chapter.strip().upper() or main_chapter(good)
        reached = chapters_reached(good)
        if chapter and chapter not in {known.numeral for known in chapters()}:
            problem(place, tr("no chapter of ICD-10", "不是 ICD-10 的章"), row.chapter, "I … XXII")
        elif reached and chapter not in reached:
            problem(
                place,
                tr("the chapter holds none of the label's codes", "该章不含此标签的任何编码"),
                chapter,
                ", ".join(reached),
            )
        labels.append(Label(number, zh.strip(), zh.strip(), en.strip() or zh.strip(), tuple(good), chapter))
    if not rows:
        problem("labels", tr("the label set has no label", "标签体系没有标签"))
    elif len(labels) == 1 and not problems:
        problem(
            "labels",
            tr("one label only: there is nothing to tell apart", "只有一个标签，无法分类"),
            "1",
            "≥ 2",
        )
    if problems:
        raise SettingsError(problems)
    return Taxonomy(name, version, tuple(sorted(labels, key=lambda label: label.id)))
