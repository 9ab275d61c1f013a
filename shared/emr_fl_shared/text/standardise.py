"""One way of writing what clinics write in many: T38.5 → 体温38.5, WBC:12.3x109/L → 白细胞12.3×10^9/L, 【现病史】 → 现病史：

The standardiser that the paper proposes after its analysis of errors, for text that `normalise` has been over. Two steps:

1. *Form*: HTML markup, page numbers and print footers go; headings in 【】 become `heading：`; fields and vital signs that the
   template left empty go; doubled punctuation and a repeated 无 become one; vital signs in a row are parted by commas; a unit gets one spelling and stands right behind its number. Each is a narrow pattern, so that nothing but form changes.
2. *Abbreviations*: times (3d → 3天), and those of the lexicon (never its `noise_forms`, which belong to the evaluation) are written out where they can mean one thing only:
   vital signs and laboratory values before a value that they can have or before 升高, 阳性, (+), and examinations. Each
   sentence of the result is compared with the sentence before by the guard; if a fact differs, the sentence stays as it was.

What is ambiguous stays: Ca (calcium or carcinoma), PE, UA, T8 (a vertebra), P<0.05, a P or R without a unit that no other vital sign
stands beside. Nothing is added: a temperature without a unit gets none. Idempotent; the result is at most three times as long.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files

from emr_fl_shared.text.confusions import term_pairs
from emr_fl_shared.text.guard import Guard
from emr_fl_shared.text.lexicon import UNIT, load_lexicon
from emr_fl_shared.text.normalise import normalise

AMBIGUOUS = frozenset(("K", "Na", "Ca", "UA", "PCT", "BW", "Ht", "WC"))
"""Abbreviations of vital signs and laboratory values that mean other things as well, also before a number."""
EXAMINATIONS = ("ECG", "EKG", "UCG", "CDFI", "CXR", "EEG", "EMG", "Holter")
"""Abbreviations of examinations that mean one thing wherever they stand."""
_RANGES = {
    "T": (34.0, 43.0),
    "P": (30.0, 220.0),
    "R": (8.0, 80.0),
    "HR": (30.0, 250.0),
    "RR": (8.0, 80.0),
    "BP": (40.0, 300.0),
    "SpO2": (50.0, 100.0),
}
"""Values that a vital sign can have; with others the letters mean something else."""
_NEEDS_COMPANY = ("P", "R")
_MOST_PASSES = 12
_REMEMBERED = 20_000


def standardise(text: str) -> str:
    """`text`, which is normalised, in the form that the module's docstring describes. Never raises."""
    form = _settled(text)
    return "".join(_written_out(sentence) for sentence in _SENTENCE.findall(form))


# --- form -------------------------------------------------------------------------------------------------------------

_POWER = re.compile(r"(?<=\d)<sup>\s*(\d{1,2})\s*</sup>", re.IGNORECASE)
_BREAK = re.compile(
    r"</?(?:br|p|div|tr|table|tbody|li|ul|ol|h[1-6]|hr)(?:\s[^<>]{0,200})?\s*/?>", re.IGNORECASE
)
_TAG = re.compile(
    r"</?(?:span|b|i|u|s|a|font|td|th|strong|em|sub|sup|img|html|body|head|label|input)(?:\s[^<>]{0,200})?\s*/?>|<!--[^<>]{0,200}-->",
    re.IGNORECASE,
)
_DATE = r"(?:\[DATE[^\[\]]{0,12}\]|\d{4}[年./-]\d{1,2}[月./-]\d{1,2}日?)"
_FOOTER = re.compile(
    r"(?:第 ?\d{1,3} ?页[ ,，/]{0,2}共 ?\d{1,3} ?页|共 ?\d{1,3} ?页[ ,，/]{0,2}第 ?\d{1,3} ?页|第 ?\d{1,3} ?页|页码 ?[:：] ?\d{1,3}(?:/\d{1,3})?"
    r"|[Pp]age ?\d{1,3}(?: ?(?:of|/) ?\d{1,3})?"
    rf"|打印(?:时间|日期) ?[:：] ?(?:{_DATE})?(?: ?\d{{1,2}}[:：]\d{{2}}(?:[:：]\d{{2}})?)?"
    r"|打印(?:人|者|员) ?[:：] ?(?:\[[A-Z_]{2,31}\])?|[(（]?(?:以下空白|此页无正文|续前页)[)）]?)(?=[ 。；;，,\n)）]|$)"
)
_BEFORE_FOOTER = "。；;，,\n "
_STOP = "。；;！!？?\n"
_DOUBLED = re.compile(r"([，、；：！？。,;:!?])(?: ?\1)+")
_WEAKER_BEFORE = re.compile(r"[，、；,;] ?(?=[。！？])|、(?=，)")
_WEAKER_AFTER = re.compile(r"(?<=[。！？，])(?: ?[，、；,;])+")
_BLANKS_AROUND = re.compile(r" +(?=[，。；：、！？])|(?<=[，。；：、！？]) +")
_FILLING = re.compile(r"(?=[_=~*#-])(?:_{2,}|(?<![\d+])(?:-{3,}|={3,}|~{3,}|\*{2,}|#{2,})(?!\d))")
_REPEATED_NO = re.compile(r"(?:(?<=[：:。；;\n])|^)(无|否)(?:[ 、，,/]{1,2}\1)+(?=[。；;\n]|$)")
_SERIES = re.compile(
    r"((?:(?<![A-Za-z])(?:T|P|R|HR|BP)|体温|脉搏|呼吸|心率|血压) ?[:：]? ?\d{2,3}(?:\.\d)?(?:/\d{2,3})?(?: ?(?:℃|次/分|mmHg))?) ?"
    r"(?=(?:P|R|HR|BP|[Ss][Pp][Oo]2|脉搏|呼吸|心率|血压|血氧饱和度) ?[:：]? ?\d{2})"
)
"""A vital sign right before another one, with a blank or nothing between."""
_PRESSURE = re.compile(r"(?<=\d)(?: /| ?/ )(?=\d{2,3} ?mmHg)")
_DEGREES = re.compile(
    r"(?<![A-Za-z])((?:体温|T)[:： ]{0,2}(?:3[4-9]|4[0-3])(?:\.\d{1,2})?) ?(?:度|C(?![A-Za-z]))"
)


def _settled(text: str) -> str:
    """`_form` until it changes nothing more, since what one pattern takes away may bring two others together."""
    form = text
    for _ in range(_MOST_PASSES):
        before, form = form, _form(form)
        if form == before:
            return form
    return text  # never seen: then the text stays as it is, the next time as well


def _form(text: str) -> str:
    if "<" in text:
        text = _without_markup(text)
    if "页" in text or "打印" in text or "空白" in text or "age" in text:
        text = _FOOTER.sub(_footer, text)
    if "【" in text or "〖" in text:
        text = _heading().sub(_as_heading, text)
    text = _unfilled().sub("", text)
    text = _FILLING.sub(" ", text)
    text = _BLANKS_AROUND.sub("", text)
    text = _DOUBLED.sub(r"\1", text)
    text = _WEAKER_AFTER.sub("", _WEAKER_BEFORE.sub("", text))
    text = _REPEATED_NO.sub(r"\1", text)
    text = _SERIES.sub(r"\1，", text)
    text = _PRESSURE.sub("/", text)
    text = _DEGREES.sub(r"\1℃", text)
    text = _unit().sub(lambda match: _units()[match[1].lower()], text)
    text = _spelled_vital().sub(r"\1", text)
    return text.strip(" \n")


def _without_markup(text: str) -> str:
    """Line breaks for block tags; an inner tag goes. Until nothing is left, since one may stand in another."""
    before = None
    while before != text:
        before = text
        text = _TAG.sub("", _BREAK.sub("\n", _POWER.sub(r"^\1", text)))
        if text != before:
            text = normalise(text)
    return text


def _footer(match: re.Match[str]) -> str:
    """Nothing, where the match stands by itself; a word that only contains it stays."""
    before = match.string[match.start() - 1 : match.start()]
    return "" if before in _BEFORE_FOOTER else match[0]


def _as_heading(match: re.Match[str]) -> str:
    before = match.string[match.start() - 1 : match.start()] if match.start() else "。"
    return f"{'' if before in _STOP else '。'}{match[1]}："


@cache
def _fields() -> str:
    """The headings of `fields.txt` as alternatives, the longest first."""
    names = (files("emr_fl_shared") / "resources" / "standardise" / "fields.txt").read_text(encoding="utf-8")
    return _alternatives(names.split())


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))


@cache
def _heading() -> re.Pattern[str]:
    return re.compile(rf"[ \n]*[【〖] ?({_fields()}) ?[:：]? ?[】〗] ?[:：]? ?")


@cache
def _unfilled() -> re.Pattern[str]:
    """A heading with dashes or nothing where its text should be. With nothing, only before a full stop or the end: what stands
    behind a comma or a line break may be the text."""
    marks = r"(?:_{2,}|-{2,}|—{2,}|…+|/|\( ?\))"
    return re.compile(
        rf"(?:(?<=[{_STOP}，, ])|^)(?:{_fields()})(?: ?[:：]? ?{marks}(?: ?/ ?_+)?(?: ?(?:℃|mmHg|次/分|kg|cm|%))?(?=[{_STOP}，,、 ]|$)| ?[:：](?=[。；;]|$))"
        rf"[{_STOP}，,、 ]*"
    )


@cache
def _spellings() -> Mapping[str, str]:
    """Spelling → unit: `units.tsv`, and what the lexicon knows of the same units."""
    path = files("emr_fl_shared") / "resources" / "standardise" / "units.tsv"
    table: dict[str, str] = {}
    for unit, spellings in csv.reader(path.read_text(encoding="utf-8").splitlines()[1:], delimiter="\t"):
        table |= {spelling: unit for spelling in (unit, *spellings.split("|")) if spelling}
    for term in load_lexicon().terms.values():
        if term.kind == UNIT and (known := [word for word in term.training_wordings if word in table]):
            table |= dict.fromkeys(term.training_wordings, table[known[0]])
    return table


@cache
def _units() -> Mapping[str, str]:
    """`_spellings` in lower case."""
    return {spelling.lower(): unit for spelling, unit in _spellings().items()}


@cache
def _unit() -> re.Pattern[str]:
    # A letter behind a unit in Chinese is the next thing's: 120毫米汞柱P80.
    # Cases are listed and first letters asked for apart: that is several times as fast as letting the pattern ignore cases.
    forms = {form for word in _spellings() for form in (word, word.upper(), word.lower())}
    first = re.escape("".join(sorted({form[0] for form in forms})))
    return re.compile(
        rf"(?<=\d) ?(?=[{first}])({_alternatives(forms)})(?![/\d^²³⁰-⁹拉汞水])(?:(?<=[一-鿿])|(?![A-Za-z]))"
    )


@cache
def _durations() -> Mapping[str, str]:
    """Spelling → the lexicon's main term of a time (d → 天); a letter y may be an age."""
    return {
        word: term.term
        for term in load_lexicon().terms.values()
        if term.kind == UNIT and not any(wording.lower() in _units() for wording in term.training_wordings)
        for word in (term.term, *term.abbreviations)
        if word != "y"
    }


@cache
def _duration() -> re.Pattern[str]:
    # no letter before the number: the w of T1w is no week
    return re.compile(
        rf"(?<![A-Za-z\d./^-])(\d{{1,3}}(?:\.\d)?) ?({_alternatives(_durations())})(?![A-Za-z\d-])"
    )


@cache
def _spelled_vital() -> re.Pattern[str]:
    """A vital sign in Chinese with a colon or a blank before its value."""
    names = [term.term for term in load_lexicon().terms.values() if term.kind == "vital"]
    return re.compile(rf"({_alternatives(names)})(?: ?[:：] ?| )(?=\d)")


# --- abbreviations ----------------------------------------------------------------------------------------------------

_SENTENCE = re.compile(rf"[^{_STOP}]*[{_STOP}]|[^{_STOP}]+")
_LETTERS = re.compile("[A-Za-z]")


@cache
def _full_forms() -> Mapping[str, str]:
    """Abbreviation as it may be typed → main term. Two letters are read as the lexicon spells them or in capitals, longer ones in any of the
    usual cases."""
    table = {}
    for term in load_lexicon().terms.values():
        for word in term.abbreviations:
            if word not in term_pairs("train") or not word.isascii() or word in AMBIGUOUS or term.is_finding:
                continue
            if term.kind in ("vital", "laboratory") or word in EXAMINATIONS:
                table[word] = term.term
                if len(word) > 2:
                    table |= {word.upper(): term.term, word.lower(): term.term, word.capitalize(): term.term}
    return table


@cache
def _measured() -> re.Pattern[str]:
    """Abbreviation, what separates it from the value, and the value."""
    names = [name for name in _full_forms() if name.upper() not in {exam.upper() for exam in EXAMINATIONS}]
    return re.compile(
        rf"(?=[A-Za-z])(?<![A-Za-z\d-])({_alternatives(names)})( ?[:：=]? ?)"
        r"([<>≤≥]? ?\d+(?:\.\d+)?|\([+-]|[↑↓]|升高|增高|增快|降低|减低|下降|正常|偏高|偏低|阳性|阴性)"
    )


@cache
def _examination() -> re.Pattern[str]:
    return re.compile(rf"(?=[A-Z])(?<![A-Za-z\d-])({_alternatives(EXAMINATIONS)})(?![A-Za-z\d-])")


@cache
def _guard() -> Guard:
    return Guard(remember=0)


@lru_cache(maxsize=_REMEMBERED)
def _written_out(sentence: str) -> str:
    """The sentence with its abbreviations in full, or as it was if the guard reads another fact in it."""
    if not _LETTERS.search(sentence):
        return sentence
    vitals = {match[1] for match in _measured().finditer(sentence) if _is_vital(match)}
    vitals |= set(_spelled_out().findall(sentence))

    def in_full(match: re.Match[str]) -> str:
        name, value = match[1], match[3]
        if name in _RANGES and not _is_vital(match):
            return match[0]
        if name in _NEEDS_COMPANY and not (vitals - {name}) and not sentence.startswith("次/分", match.end()):
            return match[0]
        return _full_forms()[name] + value

    full = _measured().sub(in_full, sentence)
    full = _duration().sub(lambda match: match[1] + _durations()[match[2]], full)
    full = _examination().sub(lambda match: _full_forms()[match[1]], full)
    return full if _guard().keeps(sentence, full) else sentence


@cache
def _spelled_out() -> re.Pattern[str]:
    return re.compile(r"(体温|血压|心率|脉搏|呼吸)(?=\d)")


def _is_vital(match: re.Match[str]) -> bool:
    """Whether the value is one that the vital sign of this name can have; single letters stand before a number only."""
    name, value = match[1], match[3].lstrip("<>≤≥ ")
    if name not in _RANGES or not value[0].isdigit():
        return False
    low, high = _RANGES[name]
    after = match.string[match.end() : match.end() + 1]
    return low <= float(value) <= high and not (after.isascii() and after.isalpha())
