"""What the row's own identifier columns say: the surest evidence there is.

Names also as parts and forms (张先生, 老张, 张某, 张**, the given name alone), numbers also with blanks and dashes inside, addresses
also in part, hospitals also without their province and city.

>>> from emr_fl_shared.deidentify.recognisers.known import Known
>>> text = "老张平素体健,建国自诉头痛,号码0012 3456"
>>> row = {"patient_name": "张建国", "record_number": "00123456"}
>>> sorted((text[s.start:s.end], s.kind) for s in Known().find(text, row))
[('0012 3456', 'RECORD_NUM'), ('建国', 'PATIENT_NAME'), ('老张', 'PATIENT_NAME')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import findings, sections, words

_NAMES = {
    "patient_name": "PATIENT_NAME",
    "relative_name": "RELATIVE_NAME",
    "doctor": "STAFF_NAME",
    "nurse": "STAFF_NAME",
}
_NUMBERS = {
    "id_card": "ID_CARD",
    "phone": "PHONE",
    "relative_phone": "PHONE",
    "insurance_number": "INSURANCE_NUM",
    "record_number": "RECORD_NUM",
    "visit_number": "VISIT_NUM",
    "exam_number": "EXAM_NUM",
    "bank_card": "BANK_CARD",
    "permit": "PERMIT",
    "passport": "PASSPORT",
    "plate": "PLATE",
    "qq": "QQ",
    "wechat": "WECHAT",
    "record_id": "RECORD_NUM",
    "patient_id": "RECORD_NUM",
}
_WORDS = {"email": "EMAIL", "hospital": "HOSPITAL", "employer": "EMPLOYER", "school": "SCHOOL"}
_SEVERAL = re.compile(r"[/、,;|]+|\s{2,}")
_FORM = re.compile(
    r"先生|女士|小姐|太太|阿姨|大爷|大娘|大妈|叔叔|奶奶|爷爷|师傅|同志|老师|老太太?|老先生|某{1,3}(?![医院日地])|[*xX×○]{1,3}"
)
_FAMILIAR = re.compile(r"(?<![一-鿿])[老小阿]")
_AFTER_FAMILIAR = re.compile(r"[,。;: ]|[自诉说称因来平系为的家今昨]|$")
_BED = re.compile(r"[ ]?(?:号床|号病床|床)(?![边旁位垫])")
_JOINED = re.compile(r"[\dA-Za-z.~/-]")
_SEPARATORS = dict.fromkeys(map(ord, " -.·_/"))  # what may stand between digits
_SHORTEST_NUMBER = 5
_SHORTEST_ADDRESS = 5


class Row(dict[str, str]):
    """The identifier columns of one row, read once for all its texts. Its columns must not change.

    `wanted`: what to look for, folded, in the order of the columns: name, number (letters and digits alone), word, address or bed;
    the value; its kind.
    """

    __slots__ = ("wanted",)

    def __init__(self, known: Mapping[str, str]) -> None:
        super().__init__(known)
        self.wanted = tuple(part for key, raw in known.items() if raw for part in _wanted(key, raw))


def _wanted(key: str, raw: str) -> Iterator[tuple[str, str, str]]:
    """What to look for of one column; a number needs five letters or digits, one of them a digit."""
    value = fold(raw).strip()
    if key in _NAMES:
        for part in _SEVERAL.split(value):
            if len(part.strip()) >= 2:
                yield "name", part.strip(), _NAMES[key]
    elif key in _NUMBERS:
        number = "".join(filter(str.isalnum, value)).upper()
        if len(number) >= _SHORTEST_NUMBER and any(map(str.isdigit, number)):
            yield "number", number, _NUMBERS[key]
    elif key in _WORDS:
        yield "word", value, _WORDS[key]
    elif key == "address":
        yield "address", value.replace(" ", ""), "ADDRESS"
    elif key == "bed":
        yield "bed", value, "BED_NUM"


@register
class Known:
    """See the module's docstring."""

    name = "known"
    sources: tuple[str, ...] = ("the row's own identifier columns",)
    kinds: tuple[str, ...] = tuple(
        dict.fromkeys((*_NAMES.values(), *_NUMBERS.values(), *_WORDS.values(), "ADDRESS", "BED_NUM"))
    )

    def __init__(self) -> None:
        stops = sections("name_stops.txt")
        self._ordinary = frozenset((*stops["words"], *stops["given"], *words("protected.txt"))) | findings()
        self._compound = frozenset(sections("surnames.txt")["compound"])

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of the row's own identifiers; see `Recogniser`."""
        if not known:
            return
        row = known if isinstance(known, Row) else Row(known)
        compact = ""
        for what, value, kind in row.wanted:
            if what == "number":
                compact = compact or text.translate(_SEPARATORS).upper()
                if value in compact:
                    yield from self._number(text, value, kind)
            elif what == "name":
                yield from self._name(text, value, kind)
            elif what == "word":
                yield from self._exact(text, value, kind)
            elif what == "address":
                yield from self._address(text, value)
            else:
                yield from self._bed(text, value)

    def _name(self, text: str, name: str, kind: str) -> Iterator[Span]:
        chinese = all("一" <= char <= "鿿" or char == "·" for char in name)
        if not chinese:
            for match in re.finditer(re.escape(name), text, re.IGNORECASE):
                yield Span(match.start(), match.end(), kind, 0.98)
            return
        surname = name[:2] if name[:2] in self._compound and len(name) > 2 else name[:1]
        if name in text:
            yield from self._exact(text, name, kind)
        elif f"{name[0]} " in text:
            spaced = r"[ ]{1,3}".join(map(re.escape, name))
            for match in re.finditer(spaced, text):
                yield Span(match.start(), match.end(), kind, 0.98)
        given = name[len(surname) :]
        if len(given) == 2 and given not in self._ordinary and given in text:
            for span in self._exact(text, given, kind):
                yield span._replace(score=0.86)
        at = text.find(surname)
        while at >= 0:
            behind = at + len(surname)
            form = _FORM.match(text, behind)
            if form:
                yield Span(at, form.end(), kind, 0.93)
            elif _FAMILIAR.match(text, at - 1) and _AFTER_FAMILIAR.match(text, behind):
                yield Span(at - 1, behind, kind, 0.93)
            at = text.find(surname, behind)

    @staticmethod
    def _exact(text: str, value: str, kind: str) -> Iterator[Span]:
        if len(value) < 2:
            return
        at = text.find(value)
        while at >= 0:
            yield Span(at, at + len(value), kind, 0.98)
            at = text.find(value, at + len(value))

    @staticmethod
    def _number(text: str, wanted: str, kind: str) -> Iterator[Span]:
        joined, offsets = _compact(text)
        at = joined.find(wanted)
        while at >= 0:
            start, end = offsets[at], offsets[at + len(wanted) - 1] + 1
            before = text[start - 1 : start]
            after = text[end : end + 1]
            glued_mark = after.isdigit() and text[end + 1 : end + 2] in (".", "、", ")")
            if not before.isdigit() and (not after.isdigit() or glued_mark):
                yield Span(start, end, kind, 0.99)
            at = joined.find(wanted, at + 1)

    def _address(self, text: str, value: str) -> Iterator[Span]:
        """The longest parts of the address, five characters and more, that stand in the text."""
        start = 0
        while start + _SHORTEST_ADDRESS <= len(value):
            end = start + _SHORTEST_ADDRESS
            if value[start:end] not in text:
                start += 1
                continue
            while end < len(value) and value[start : end + 1] in text:
                end += 1
            for span in self._exact(text, value[start:end], "ADDRESS"):
                yield span._replace(score=0.95)
            start = end

    @staticmethod
    def _bed(text: str, value: str) -> Iterator[Span]:
        if "床" not in text:
            return
        number = re.sub(r"号?病?床$", "", value).strip()
        if not number or not any(char.isdigit() for char in number):
            return
        at = text.find(number)
        while at >= 0:
            bed = _BED.match(text, at + len(number))
            if bed and not _JOINED.match(text[at - 1 : at]):
                yield Span(at, bed.end(), "BED_NUM", 0.97)
            at = text.find(number, at + 1)


def _compact(text: str) -> tuple[str, list[int]]:
    """Letters and digits of the text without what may stand between digits, and where each of them stood."""
    offsets = [index for index, char in enumerate(text) if ord(char) not in _SEPARATORS]
    capitals = ((text[index], text[index].upper()) for index in offsets)
    return "".join(upper if len(upper) == 1 else char for char, upper in capitals), offsets
