"""A de-identified copy of an export: look through, measure, judge, then clean and write record by record.

The source is read three times, so that no more than a few records are in memory: once for the groups of records that can't be told
apart, once for the sample of the gate, once for the copy. Nothing is written before the gate has passed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from emr_fl_client.deidentified.doubts import Doubts
from emr_fl_client.deidentified.report import build_report, check_suffix, report_bytes
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.audit import AuditReport
from emr_fl_shared.deidentify.configured import site_deidentifier
from emr_fl_shared.deidentify.deidentifier import CLEANED_FIELDS
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.gate import PLANTED, is_off, measure_site, refuse_below
from emr_fl_shared.deidentify.name_shape import name_shape
from emr_fl_shared.deidentify.risk import (
    QUASI_IDENTIFIERS,
    Group,
    chapter_of,
    coarsened,
    group_of,
    in_group,
    risk_of,
)
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import UsageError
from emr_fl_shared.labels import OUTPATIENT, load_taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.records import TEXT_FIELDS, Record, note_text
from emr_fl_shared.sources import (
    AnySource,
    RereadSource,
    SourceReport,
    as_source,
    changed_between,
    same_reading,
)

_SEVERAL = ("diagnosis_codes", "labels")
COLUMNS = (
    *("record_id", "patient_id", "visit_date", "department", "sex", "age"),
    *TEXT_FIELDS,
    *("diagnosis_codes", "diagnosis_text", "labels"),
)
_NO_TEXTS: dict[str, Any] = {
    **dict.fromkeys((*TEXT_FIELDS, "diagnosis_text"), ""),
    **dict.fromkeys(_SEVERAL, ()),
}
_OWN_COLUMNS = tuple(_NO_TEXTS)
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

    source: AnySource
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
        source = as_source(self.source)
        names = [path.absolute() for path in (*paths, *(() if source.is_database else (source.path,)))]
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
    source = RereadSource(request.source)
    seen = _look_through(source, request, cleaner)
    recall = None if is_off(policy) else measure_site(_sample(source, request, cleaner, seen), cleaner)
    problems = recall.problems(policy) if recall is not None else []
    doubts = Doubts(request.sentences if request.audit_list is not None else 0)
    cleaner.audit = AuditReport()
    copied = _clean(source, request, cleaner, seen, doubts, progress)
    done: list[Path] = []

    def keep(path: Path, chunks: Iterable[bytes]) -> None:
        write_durably(path, chunks)
        done.append(path)

    try:
        if problems:  # the report counts what would have been removed
            for _ in copied:
                pass
        else:
            written = (in_group(record, seen.becomes[group_of(record)]) for record in copied)
            keep(request.out, csv_bytes(written, seen.columns))
        report = build_report(
            settings=request.settings,
            cleaner=cleaner,
            site_key=request.site_key,
            source=seen.report,
            characters=seen.characters,
            recall=recall,
            problems=problems,
            risks={name: risk_of(counts, limit=policy.smallest_k) for name, counts in seen.groups()},
            emptied=seen.emptied,
            doubts=len(doubts) if request.audit_list is not None else None,
        )
        if request.report is not None:
            keep(request.report, [report_bytes(report, request.report)])
        if request.audit_list is not None and not problems:
            keep(request.audit_list, doubts.csv())
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    if recall is not None:
        refuse_below(recall, policy, where="policy")
    return report


@dataclass(slots=True)
class _Seen:
    """What a first reading tells: `report` of the source, how many records have a group and a chapter as exported (`before`) and
    generalised (`after`), what becomes of each generalised group in the copy and how many values that empties, which columns are
    filled, characters of the texts."""

    report: SourceReport
    before: Counter[tuple[Group, str]] = field(default_factory=Counter)
    after: Counter[tuple[Group, str]] = field(default_factory=Counter)
    becomes: dict[Group, Group] = field(default_factory=dict)
    emptied: Counter[str] = field(default_factory=Counter)
    filled: set[str] = field(default_factory=set)
    characters: int = 0

    @property
    def sizes(self) -> Counter[Group]:
        """Records by generalised group."""
        found: Counter[Group] = Counter()
        for (group, _), count in self.after.items():
            found[group] += count
        return found

    @property
    def columns(self) -> list[str]:
        """The columns of the copy."""
        return [name for name in COLUMNS if name in _ALWAYS or name in self.filled]

    def groups(self) -> Iterator[tuple[str, Counter[tuple[Group, str]]]]:
        """Records by group and chapter: as exported, generalised and as written."""
        written: Counter[tuple[Group, str]] = Counter()
        for (group, chapter), count in self.after.items():
            written[self.becomes[group], chapter] += count
        yield from (("before", self.before), ("generalised", self.after), ("written", written))


def _look_through(source: RereadSource, request: Request, cleaner: Deidentifier) -> _Seen:
    """Read everything once; of each record only what tells people apart is cleaned. Raises `DataError`."""
    taxonomy = load_taxonomy(OUTPATIENT)
    records, report = _read(source, request)
    seen = _Seen(report)

    def short() -> Iterator[Record]:
        for record in records:
            chapter = chapter_of(record, taxonomy)
            chapters.append(chapter)
            seen.before[group_of(record), chapter] += 1
            seen.characters += sum(len(getattr(record, name)) for name in CLEANED_FIELDS)
            seen.filled.update(name for name in _OWN_COLUMNS if getattr(record, name))
            yield replace(record, **_NO_TEXTS)

    chapters: deque[str] = deque()  # of the records that the cleaner has been given and not returned
    for record, result in cleaner.cleaned(short()):
        clean = _without_strays(record, result.record, cleaner)
        seen.after[group_of(clean), chapters.popleft()] += 1
    seen.becomes, seen.emptied = coarsened(seen.sizes, limit=request.settings.policy.smallest_k)
    for group in seen.becomes.values():
        seen.filled.update(name for name, value in zip(QUASI_IDENTIFIERS, group, strict=True) if value)
    return seen


def _sample(source: RereadSource, request: Request, cleaner: Deidentifier, seen: _Seen) -> list[str]:
    """The cleaned texts that the gate plants into, spread over all records."""
    every = max(1, seen.report.kept // PLANTED)
    records = islice(_read(source, request)[0], 0, every * PLANTED, every)
    return [note_text(result.record) for _, result in cleaner.cleaned(records)]


def _read(source: RereadSource, request: Request) -> tuple[Iterator[Record], SourceReport]:
    return source.records(request.settings.columns, require_labels=False)


def _clean(
    source: RereadSource,
    request: Request,
    cleaner: Deidentifier,
    seen: _Seen,
    doubts: Doubts,
    progress: Progress,
) -> Iterator[Record]:
    """The cleaned records in order. Raises `DataError`, at the latest after the last one, if they are not those that were seen."""
    records, report = _read(source, request)
    left = seen.sizes
    for row, (record, result) in enumerate(cleaner.cleaned(records), 2):
        doubts.add(row, record, result.spans, CLEANED_FIELDS)
        clean = _without_strays(record, result.record, cleaner)
        group = group_of(clean)
        if not left[group]:
            raise changed_between(request.source)
        left[group] -= 1
        yield clean
        if (row - 1) % SAY_EVERY == 0:
            progress(row - 1, seen.report.kept)
    same_reading(request.source, seen.report, report)


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


def csv_bytes(records: Iterable[Record], columns: Sequence[str]) -> Iterator[bytes]:
    """The records as CSV (UTF-8 with a byte-order mark) with these columns; several values are joined by `;`."""
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
