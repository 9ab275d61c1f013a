"""The staff roster of a site: its people's names are removed wherever they occur, kept in memory only.

A name that is an ordinary word (高兴, 江山: `name_words.txt` and the clinical lexicon), or that cuts through one (张力 in 肌张力), needs a
title or label beside it, or, unless it is a clinical term, a boundary on both sides. A `!` behind it in the roster (`高兴!`) removes it always.

>>> from emr_fl_shared.deidentify.roster import Roster
>>> text = "已请示欧文博,王 小 明复核,高兴医师查房;患者心情高兴"
>>> [text[s.start:s.end] for s in sorted(Roster(["欧文博", "王小明", "高兴"]).find(text, {}))]
['欧文博', '王 小 明', '高兴']
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.name_shape import CHINESE, ClinicalWords, is_chinese, name_shape
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import automaton, findings, words
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.headers import lookup

_ALWAYS = "!"
_NAME_HEADERS = frozenset({"doctor", "nurse", "patient_name"})  # 姓名 alone is the patient's in an export
_CHINESE_NAME = re.compile(f"[{CHINESE}]{{2,6}}|(?=.{{3,24}}$)[{CHINESE}]+(?:·[{CHINESE}]+)+")
_LATIN_NAME = re.compile(r"[A-Za-zÀ-ž][A-Za-zÀ-ž.'-]*(?: [A-Za-zÀ-ž][A-Za-zÀ-ž.'-]*){1,4}")
_SPACED = re.compile(f"[{CHINESE}] {{1,3}}(?=[{CHINESE}])")
_TITLE = re.compile(
    r"[ ]?(?:(?:正|副)?主任|主治|住院|医[师生]|护[士师]|大夫|教授|老师|技师|药师|院长|科长|查房|会诊|签)"
)
_LABEL = re.compile(
    r"(?:医[师生]|护士|护师|大夫|主任|教授|技师|药师|术者|助手|签名|签字|审核)[ ]?[:(]?[ ]?$|(?:记录|报告|[者人员])[ ]?[:(][ ]?$"
)


def read_roster(path: Path) -> tuple[str, ...]:
    """The names of a roster: one a line, or the column of a CSV file headed 姓名, 医生, 护士 or name. `#` begins a comment line.

    Raises `DataError` (no such file, not text, no column of names, a line that is no name); no message holds a name.
    """
    rows = _rows(path)
    names: list[str] = []
    column = None
    for number, row in enumerate(rows, 1):
        filled = [cell for cell in row if cell.strip()]
        if not filled or filled[0].lstrip().startswith("#"):
            continue
        if column is None:
            column, header = _column(row, path)
            if header:
                continue
        value = _tidy(row[column]) if column < len(row) else ""
        if not value:
            continue
        bare = value.rstrip(_ALWAYS)
        if not (_CHINESE_NAME.fullmatch(bare) or _LATIN_NAME.fullmatch(bare)):
            raise DataError(
                tr("a line of the roster is no name", "名单中有一行不是姓名"),
                where=f"{path}, " + tr(f"line {number}", f"第 {number} 行"),
                expected=tr("a name of at least two characters", "至少两个字的姓名"),
                do=tr("correct or remove the line", "请改正或删除该行"),
            )
        names.append(value)
    if not names:
        raise DataError(
            tr("the roster holds no name", "名单中没有姓名"),
            where=str(path),
            expected=tr("one name a line", "每行一个姓名"),
        )
    return tuple(dict.fromkeys(names))


def _rows(path: Path) -> list[list[str]]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            tr("the roster can't be read", "名单无法读取"),
            where=str(path),
            got=error.strerror or type(error).__name__,
            do=tr(
                "check the path; it is relative to the settings file", "请检查路径；它相对于设置文件所在目录"
            ),
        ) from None
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = "\x00"
    if "\x00" in text:
        raise DataError(
            tr("the roster is not text", "名单不是文本文件"),
            where=str(path),
            expected=tr("UTF-8 or GB18030, one name a line", "UTF-8 或 GB18030 文本，每行一个姓名"),
        )
    try:
        return list(csv.reader(io.StringIO(text)))
    except csv.Error:
        return [[line] for line in text.splitlines()]


def _column(row: Sequence[str], path: Path) -> tuple[int, bool]:
    """Which column holds the names, and whether `row` is a header."""
    for index, cell in enumerate(row):
        found = lookup(cell)
        if found is not None and found[0] in _NAME_HEADERS:
            return index, True
    if len([cell for cell in row if cell.strip()]) > 1:
        raise DataError(
            tr("no column of the roster holds names", "名单中没有姓名列"),
            where=str(path),
            expected=tr("a header 姓名 or name, or one name a line", "列名“姓名”，或每行一个姓名"),
        )
    return 0, False


def _tidy(cell: str) -> str:
    value = fold(cell).strip()
    return value.replace(" ", "") if value and is_chinese(value[0]) else " ".join(value.split())


class Roster:
    """A recogniser of the names of `read_roster`; see the module's docstring."""

    name = "roster"
    kinds: tuple[str, ...] = ("STAFF_NAME",)

    def __init__(self, names: Iterable[str]) -> None:
        tidy = [_tidy(name) for name in names]
        self._always = frozenset(name.rstrip(_ALWAYS) for name in tidy if name.endswith(_ALWAYS))
        bare = [name.rstrip(_ALWAYS) for name in tidy]
        self.names: tuple[str, ...] = tuple(dict.fromkeys(bare))
        chinese = {name: len(name) for name in bare if len(name) >= 2 and is_chinese(name[0])}
        self._machine = automaton(dict(chinese)) if chinese else None
        latin = sorted((name for name in bare if name and not is_chinese(name[0])), key=len, reverse=True)
        self._latin = (
            re.compile(rf"(?<![A-Za-z])(?:{'|'.join(map(re.escape, latin))})(?![A-Za-z])", re.IGNORECASE)
            if latin
            else None
        )
        self._words = frozenset(words("name_words.txt")) - self._always
        self._clinical = frozenset(words("protected.txt")) | findings()
        self._shape = name_shape()

    def __repr__(self) -> str:
        return f"Roster({len(self.names)} names)"

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of the roster's names; see `Recogniser`."""
        if self._latin is not None:
            for match in self._latin.finditer(text):
                yield Span(match.start(), match.end(), "STAFF_NAME", 0.95)
        if self._machine is None:
            return
        clinical = self._shape.words_of(text)
        for last, length in self._machine.iter(text):
            start, end = last - length + 1, last + 1
            if self._stands(text, start, end, clinical):
                yield Span(start, end, "STAFF_NAME", 0.96)
        if _SPACED.search(text):
            yield from self._spaced(text)

    def _stands(self, text: str, start: int, end: int, clinical: ClinicalWords) -> bool:
        """Whether the name is one here, and not a word."""
        name = text[start:end]
        if name in self._always:
            return True
        if name not in self._words and not (end - start <= 3 and clinical.refuse(start, end)):
            return True
        if _TITLE.match(text, end) or _LABEL.search(text, max(0, start - 8), start):
            return True
        if name in self._clinical:
            return False
        before, after = text[start - 1 : start], text[end : end + 1]
        return not (before and is_chinese(before)) and not (after and is_chinese(after))

    def _spaced(self, text: str) -> Iterator[Span]:
        """Names with blanks between their characters; one of two characters needs a boundary on a side."""
        assert self._machine is not None
        offsets = [index for index, char in enumerate(text) if char != " "]
        compact = "".join(text[index] for index in offsets)
        for last, length in self._machine.iter(compact):
            start, end = offsets[last - length + 1], offsets[last] + 1
            if not length < end - start <= 4 * length - 3:
                continue
            free = not is_chinese(text[start - 1 : start] or " ") or not is_chinese(
                text[end : end + 1] or " "
            )
            if length > 2 or free:
                yield Span(start, end, "STAFF_NAME", 0.95)
