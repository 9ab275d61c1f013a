"""A de-identified copy of an export: read, clean, measure, judge, write. Nothing is written before everything is known."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emr_fl_client.deidentified.doubts import Doubts
from emr_fl_client.deidentified.report import build_report, check_suffix, report_bytes
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.configured import site_deidentifier
from emr_fl_shared.deidentify.deidentifier import CLEANED_FIELDS
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.gate import is_off, measure_site, refuse_below
from emr_fl_shared.deidentify.name_shape import name_shape
from emr_fl_shared.deidentify.risk import chapter_of, coarsen, group_of, measure_risk
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import UsageError
from emr_fl_shared.labels import OUTPATIENT, load_taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.records import TEXT_FIELDS, Record, note_text
from emr_fl_shared.sources import read_records

_SEVERAL = ("diagnosis_codes", "labels")
COLUMNS = (
    *("record_id", "patient_id", "visit_date", "department", "sex", "age"),
    *TEXT_FIELDS,
    *("diagnosis_codes", "diagnosis_text", "labels"),
)
_ALWAYS = frozenset({"record_id", "patient_id"})
_SEXES = {"男": "男", "女": "女", "m": "男", "f": "女", "male": "男", "female": "女"}
_SEX_CODES = frozenset("0129")  # GB/T 2261.1
_AGE = re.compile(r"[\d.]{1,5}\+?(?:-\d{2})?[岁月天日周个小时半余YyMmDd\d ]{0,8}")
_NAME = "PATIENT_NAME"
_BOM = "\ufeff"
SAY_EVERY = 5000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What to clean (`source`), with which settings and key, and what to write. `site_key`: the key is the site's own, so that
    pseudonyms and shifts are the same in every copy."""

    source: Path
    out: Path
    settings: SiteSettings
    key: bytes = field(repr=False)
    site_key: bool = False
    report: Path | None = None
    audit_list: Path | None = None
    sentences: int = 200

    def check(self) -> None:
        """Raises `UsageError`: a file that exists, one name for two files, or a report that is neither .json nor .html."""
        if self.report is not None:
            check_suffix(self.report)
        paths = [self.out, *(path for path in (self.report, self.audit_list) if path is not None)]
        names = [path.absolute() for path in (*paths, self.source)]
        if len(set(names)) < len(names):
            raise UsageError(
                tr("one name for two files", "两个文件同名"),
                where="--out, --report, --audit-list",
                do=tr("give each its own", "请分别指定"),
            )
        for path in paths:
            if path.exists() or path.is_symlink():
                raise UsageError(
                    tr("this file exists", "文件已存在"),
                    where=str(path),
                    do=tr("give another name or delete it", "请换一个名称，或先删除"),
                )


def deidentify_file(request: Request, progress: Progress = lambda done, of: None) -> dict[str, Any]:
    """Write the cleaned copy, the report and the list of doubts; returns the report.

    All files are readable by their owner only, and complete or absent. If the site's own recall is below its policy, only the report
    is written.

    Raises `UsageError` (before anything is read), `DataError` (source, roster), `ModelError`, `PolicyError`, `StorageError`.
    """
    request.check()
    cleaner = site_deidentifier(request.settings, key=request.key)
    policy = request.settings.policy
    records, source = read_records(request.source, request.settings.columns, require_labels=False)
    doubts = Doubts(request.sentences if request.audit_list is not None else 0)
    cleaned = list(_clean(records, cleaner, doubts, progress))
    recall = None if is_off(policy) else measure_site([note_text(record) for record in cleaned], cleaner)
    problems = recall.problems(policy) if recall is not None else []
    taxonomy = load_taxonomy(OUTPATIENT)
    chapters = [chapter_of(record, taxonomy) for record in records]
    written, emptied = coarsen(cleaned, limit=policy.smallest_k)
    risks = {
        name: measure_risk([group_of(record) for record in these], chapters, limit=policy.smallest_k)
        for name, these in (("before", records), ("generalised", cleaned), ("written", written))
    }
    report = build_report(
        settings=request.settings,
        cleaner=cleaner,
        site_key=request.site_key,
        source=source,
        characters=sum(len(getattr(record, name)) for record in records for name in CLEANED_FIELDS),
        recall=recall,
        problems=problems,
        risks=risks,
        emptied=emptied,
        doubts=len(doubts) if request.audit_list is not None else None,
    )
    files: list[tuple[Path, Iterable[bytes]]] = []
    if request.report is not None:
        files.append((request.report, [report_bytes(report, request.report)]))
    if not problems:
        if request.audit_list is not None:
            files.append((request.audit_list, doubts.csv()))
        files.append((request.out, csv_bytes(written)))
    _write_all(files)
    if recall is not None:
        refuse_below(recall, policy, where="policy")
    return report


def _clean(
    records: Sequence[Record], cleaner: Deidentifier, doubts: Doubts, progress: Progress
) -> Iterator[Record]:
    for row, record in enumerate(cleaner.ahead(records), 2):
        result = cleaner.clean(record)
        doubts.add(row, record, result.spans, CLEANED_FIELDS)
        yield _without_strays(record, result.record, cleaner)
        if (row - 1) % SAY_EVERY == 0:
            progress(row - 1, len(records))


def _without_strays(original: Record, clean: Record, cleaner: Deidentifier) -> Record:
    """The cleaned record with nothing unforeseen in its short columns: labels and codes cleaned too, no cell that is nothing but a name,
    sex and age only if they are such."""
    known = {**original.identifiers, "patient_id": original.patient_id, "record_id": original.record_id}

    def each(values: tuple[str, ...], *, loose: bool) -> tuple[str, ...]:
        return tuple(_no_name(cleaner.text(value, known)[0], loose=loose) for value in values)

    sex = fold(original.sex).strip().lower()
    age = fold(clean.age).strip()
    return replace(
        clean,
        diagnosis_codes=each(original.diagnosis_codes, loose=True),
        diagnosis_text=_no_name(clean.diagnosis_text, loose=False),
        labels=each(original.labels, loose=False),
        sex=sex if sex in _SEX_CODES else _SEXES.get(sex.rstrip("性"), ""),
        age=age if _AGE.fullmatch(age) else "",
    )


def _no_name(value: str, *, loose: bool) -> str:
    """`value`, or a placeholder for a cell that is a name and nothing else: no cue tells the cleaner of it."""
    return f"[{_NAME}]" if name_shape().is_whole(fold(value).strip(), loose=loose) else value


def csv_bytes(records: Sequence[Record]) -> Iterator[bytes]:
    """The records as CSV (UTF-8 with a byte-order mark) with the columns that any of them fills; several values are joined by `;`."""
    columns = [
        name for name in COLUMNS if name in _ALWAYS or any(getattr(record, name) for record in records)
    ]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    buffer.write(_BOM)
    writer.writerow(columns)
    for number, record in enumerate(records, 1):
        writer.writerow(
            ";".join(getattr(record, name)) if name in _SEVERAL else getattr(record, name) for name in columns
        )
        if number % 1000 == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _write_all(files: Sequence[tuple[Path, Iterable[bytes]]]) -> None:
    """All files or none."""
    done: list[Path] = []
    try:
        for path, chunks in files:
            write_durably(path, chunks)
            done.append(path)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
