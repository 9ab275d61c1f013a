"""Which header stands for which field of the record: `resources/headers/*.tsv` and the user's own column map."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from emr_fl_shared.errors import ColumnMapError, DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.records import TEXT_FIELDS

LABEL_FIELDS = ("labels", "diagnosis_codes", "diagnosis_text")
_IGNORED = re.compile(r"[\s_\-:.*#\"'/\\]+")
_BRACKETS = re.compile(r"[(\[【{].*?[)\]】}]")
_SENTENCE = re.compile(r"[，。；、！？,;!?]|\d{3,}|\d[天年月日周小岁]")
_HEADERISH = re.compile(
    r"^[A-Za-z][A-Za-z0-9_ .\-]*$|[诉史号名列]$|诊断|编码|代码|日期|时间|标签|分类|类别|文本|内容|性别|年龄|科室|字段|描述|记录|结果|记载"
)
_SHOWN_HEADERS = 40


def fold_header(header: str) -> str:
    """A header without case, width, blanks and marks, as aliases are compared."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", header).casefold()).strip("[]【】()")


@cache
def _aliases() -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]]:
    """Folded header -> (field, rank) for the fields of the record and for identifiers."""
    tables: list[dict[str, tuple[str, int]]] = []
    for name in ("fields.tsv", "identifiers.tsv"):
        resource = files("emr_fl_shared") / "resources" / "headers" / name
        table: dict[str, tuple[str, int]] = {}
        for line in resource.read_text("utf-8").splitlines():
            if not line or line.startswith("#") or line.endswith("\theaders"):
                continue
            target, _, headers = line.partition("\t")
            for rank, header in enumerate(headers.split("|")):
                table.setdefault(fold_header(header), (target, rank))
        tables.append(table)
    return tables[0], tables[1]


def canonical_fields() -> tuple[str, ...]:
    """The names that a column map may use on its left side: fields of the record, then identifiers."""
    fields, identifiers = _aliases()
    return tuple(dict.fromkeys(name for name, _ in (*fields.values(), *identifiers.values())))


def _accepted(names: Sequence[str], per_field: int = 4) -> str:
    """The first few accepted headers of the fields, to show in an error."""
    resource = (files("emr_fl_shared") / "resources" / "headers" / "fields.tsv").read_text("utf-8")
    shown: list[str] = []
    for line in resource.splitlines():
        target, _, headers = line.partition("\t")
        if target in names:
            listed = headers.split("|")
            chinese = [header for header in listed if not header.isascii()]
            shown.append(" / ".join(dict.fromkeys([target, *chinese][:per_field])))
    return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each field stands: positions in the row."""

    fields: Mapping[str, int]
    identifiers: Mapping[str, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def text(self) -> tuple[int, ...]:
        return tuple(self.fields[name] for name in TEXT_FIELDS if name in self.fields)

    @property
    def label(self) -> tuple[int, ...]:
        return tuple(self.fields[name] for name in LABEL_FIELDS if name in self.fields)


def lookup(header: str) -> tuple[str, int, bool] | None:
    """(canonical name, rank, is an identifier) of a header, or `None` if it is not understood."""
    fields, identifiers = _aliases()
    folded = fold_header(header)
    bare = fold_header(_BRACKETS.sub("", unicodedata.normalize("NFKC", header)))
    for key in (folded, bare):
        if key and key in fields:
            return (*fields[key], False)
        if key and key in identifiers:
            return (*identifiers[key], True)
    return None


def understood(row: Sequence[str], mapped: Mapping[str, str] | None = None) -> int:
    """How many cells of the row are headers that we understand."""
    own = {fold_header(header) for header in (mapped or {}).values()}
    return sum(1 for cell in row if cell.strip() and (lookup(cell) is not None or fold_header(cell) in own))


def resolve(
    header: Sequence[str], mapped: Mapping[str, str] | None, *, where: str, rows: Sequence[Sequence[str]] = ()
) -> Columns:
    """Columns of a header row: the user's map first, then aliases, the best alias where several fit.

    `rows` are data rows; they only serve to tell a header from data before it is shown in an error.
    Raises `ColumnMapError` for a map that names an unknown field or a header that does not exist.
    """
    mapped = dict(mapped or {})
    position: dict[str, int] = {}
    for index, cell in enumerate(header):
        position.setdefault(cell.strip(), index)
    folded: dict[str, int] = {}
    for index, cell in enumerate(header):
        folded.setdefault(fold_header(cell), index)
    chosen: dict[str, tuple[int, int]] = {}
    known = canonical_fields()
    identifier_names = {name for name, _ in _aliases()[1].values()}
    taken: set[int] = set()
    for target, wanted in mapped.items():
        if target not in known:
            raise ColumnMapError(
                tr("a column map names an unknown field", "列映射使用了未知字段"),
                where=f"{where}, columns.{target}",
                expected=", ".join(known),
            )
        at = position.get(wanted.strip(), folded.get(fold_header(wanted)))
        if at is None:
            raise ColumnMapError(
                # the header is said in the details only: the message alone may leave a site
                tr("the column map names a column that is not in the file", "列映射中的列不在文件中"),
                where=f"{where}, columns.{target} = {wanted}",
                got=shown_headers(header, rows),
                do=tr(f'name the header that holds it: {target} = "…"', f'请写出对应的列名：{target} = "…"'),
            )
        chosen[target] = (-1, at)
        taken.add(at)
    for index, cell in enumerate(header):
        found = lookup(cell)
        if found is None or index in taken:
            continue
        target, rank, _ = found
        if target in mapped:
            continue
        if target not in chosen or rank < chosen[target][0]:
            chosen[target] = (rank, index)
    places = {target: index for target, (_, index) in chosen.items()}
    fields = {name: index for name, index in places.items() if name not in identifier_names}
    identifiers = {name: index for name, index in places.items() if name in identifier_names}
    # A medical record number stays with the patient: where nothing else says who the patient is, it does,
    # so that two visits of one patient are never taken for two patients.
    if "record_number" in identifiers:
        if "patient_id" not in fields:
            fields["patient_id"] = identifiers["record_number"]
        elif "record_id" not in fields:
            fields["record_id"] = identifiers["record_number"]
    used = set(fields.values()) | set(identifiers.values())
    ignored = tuple(cell.strip() for index, cell in enumerate(header) if index not in used and cell.strip())
    return Columns(fields, identifiers, ignored)


def looks_like_header(row: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> bool:
    """Whether the row may be shown in an error: no cell of it looks like, or is repeated in, data."""
    for index, cell in enumerate(row):
        text = cell.strip()
        if not text or lookup(text) is not None:
            continue
        if (
            len(text) > (24 if text.isascii() else 14)
            or _SENTENCE.search(text)
            or text.replace(".", "").isdigit()
        ):
            return False
        if any(
            index < len(other) and other[index].strip() == text and list(other) != list(row) for other in rows
        ):
            return False
    return True


def shown_headers(row: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> str:
    """The headers for an error message, or a sentence in their place if the first row may be data."""
    if not looks_like_header(row, rows):
        return tr(
            f"a first row of {len(row)} cells that looks like data, not like headers (not shown)",
            f"第一行有 {len(row)} 个单元格，像是数据而不是列名（不显示）",
        )
    # Where no header is understood the row may still be data (a name, a symptom): show what is shaped like a header.
    sure = understood(row) > 0
    names = [
        cell.strip() or "∅" if sure or not cell.strip() or _HEADERISH.search(cell.strip()) else "…"
        for cell in row
    ]
    more = f" … (+{len(names) - _SHOWN_HEADERS})" if len(names) > _SHOWN_HEADERS else ""
    return ", ".join(names[:_SHOWN_HEADERS]) + more


def require(
    columns: Columns, header: Sequence[str], rows: Sequence[Sequence[str]], *, where: str, labels: bool
) -> None:
    """Raise `DataError` unless the header has a text column and, if `labels`, a label column."""
    if not columns.text:
        raise DataError(
            tr("no text column found", "找不到文本列"),
            where=where,
            got=shown_headers(header, rows),
            expected=_accepted(TEXT_FIELDS),
            do=tr(
                'name yours under [sites.NAME.columns], for example chief_complaint = "ZS" (emr-fl evaluate: --column chief_complaint=ZS)',
                '请在 [sites.站点名.columns] 中写明，例如 chief_complaint = "ZS"（emr-fl evaluate：--column chief_complaint=ZS）',
            ),
        )
    if labels and not columns.label:
        raise DataError(
            tr("no label column found", "找不到标签列"),
            where=where,
            got=shown_headers(header, rows),
            expected=_accepted(LABEL_FIELDS),
            do=tr(
                'name yours under [sites.NAME.columns], for example diagnosis_codes = "ZDBM" or labels = "LB" (emr-fl evaluate: --column labels=LB)',
                '请在 [sites.站点名.columns] 中写明，例如 diagnosis_codes = "ZDBM" 或 labels = "LB"（emr-fl evaluate：--column labels=LB）',
            ),
        )
