"""Which characters and wordings stand in for which, in training and in evaluation, with nothing in common.

A robustness score is worth something only if training never saw the replacements of the evaluation noise. So each
unordered pair of characters belongs to one side for good, decided by a checksum of the pair; wordings of the evaluation
side are the lexicon's `noise_forms`, and those that also occur on the training side are left out.

Characters that carry meaning by themselves (无, 左, 上, 男, 二 …) are in no pair: no replacement makes or unmakes one.
"""

from __future__ import annotations

import csv
import zlib
from collections import defaultdict
from difflib import SequenceMatcher
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Literal

from emr_fl_shared.text.lexicon import UNIT, Lexicon, Term, load_lexicon, matchable
from emr_fl_shared.text.vocabulary import gb2312_level1

Side = Literal["train", "test"]

FULL_WIDTH = 0xFEE0
"""How far a full-width letter is from its ASCII one."""

MEANINGFUL = frozenset(
    "无未没否不非勿莫免除排左右双两单上下前后内外中侧近远高低升降增减加轻重好坏有阴阳男女孕产父母兄弟姐妹儿子夫妻"
    "一二三四五六七八九十百千万亿半几零点第多少次每年月日周天时分秒岁期级型度疑似曾既往现今已史"
)
"""Characters that negate, place, count, date or name persons."""

_MARKS: dict[Side, dict[str, tuple[str, ...]]] = {
    "train": {
        "，": ("， ",),
        ",": (", ",),
        "。": ("；", "。 "),
        "；": ("。", "； "),
        ";": ("; ",),
        "：": ("", "： "),
        ":": ("", ": "),
        "、": ("、 ",),
        " ": ("", "  "),
        "（": ("(",),
        "）": (")",),
        "(": ("（",),
        ")": ("）",),
    },
    "test": {
        "，": ("，，", ",", " ，"),
        "。": ("。。", "."),
        "、": ("、、",),
        "：": (":", "：："),
        "；": (";",),
    },
}

_FUZZY_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"), ("h", "f"))
_FUZZY_FINALS = (("ang", "an"), ("eng", "en"), ("ing", "in"))


def side_of_pair(first: str, second: str) -> Side:
    """The side that an unordered pair belongs to: the same in every process, version and platform."""
    return "train" if zlib.crc32("".join(sorted((first, second))).encode()) & 1 else "test"


@cache
def syllables() -> dict[str, str]:
    """The usual toneless pinyin of every GB/T 2312 level 1 character that may be confused."""
    from pypinyin import lazy_pinyin

    return {char: lazy_pinyin(char, v_to_u=False)[0] for char in gb2312_level1() if char not in MEANINGFUL}


def _fuzzy(syllable: str) -> set[str]:
    """Syllables that southern speakers and fast typists take for this one."""
    found = set()
    for long, short in _FUZZY_INITIALS:
        if syllable.startswith(long):
            found.add(short + syllable[len(long) :])
        elif syllable.startswith(short) and not syllable.startswith(short + "h"):
            found.add(long + syllable[len(short) :])
    for long, short in _FUZZY_FINALS:
        if syllable.endswith(long):
            found.add(syllable[: -len(long)] + short)
        elif syllable.endswith(short):
            found.add(syllable[: -len(short)] + long)
    return found


def _both_ways(pairs: set[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = defaultdict(list)
    for first, second in sorted(pairs):
        table[first].append(second)
        table[second].append(first)
    return {char: tuple(sorted(others)) for char, others in sorted(table.items())}


@cache
def homophones(side: Side) -> dict[str, tuple[str, ...]]:
    """Characters of the same syllable whatever the tone; on the evaluation side also of an easily confused syllable."""
    by_syllable: dict[str, list[str]] = defaultdict(list)
    for char, syllable in syllables().items():
        by_syllable[syllable].append(char)
    pairs: set[tuple[str, str]] = set()
    for syllable, chars in by_syllable.items():
        pairs.update((first, second) for first, second in combinations(sorted(chars), 2))
        if side == "test":
            for other in _fuzzy(syllable):
                pairs.update(
                    (min(first, second), max(first, second))
                    for first in chars
                    for second in by_syllable.get(other, ())
                )
    return _both_ways({pair for pair in pairs if side_of_pair(*pair) == side})


@cache
def shape_pairs() -> tuple[tuple[str, str], ...]:
    """The table `resources/confusions/shape.tsv`, without characters that carry meaning by themselves."""
    path = files("emr_fl_shared") / "resources" / "confusions" / "shape.tsv"
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    rows = list(csv.reader(lines, delimiter="\t"))[1:]
    return tuple((row[0], row[1]) for row in rows if not MEANINGFUL.intersection(row))


@cache
def lookalikes(side: Side) -> dict[str, tuple[str, ...]]:
    """Characters that look alike."""
    return _both_ways({pair for pair in shape_pairs() if side_of_pair(*pair) == side})


def _unambiguous(lexicon: Lexicon, wording: str, term: Term) -> bool:
    """Whether a reader takes `wording` for this concept alone, and for no cue that would change the sentence."""
    if not matchable(wording):
        return False
    entry = lexicon.entry(wording)
    return (
        entry is not None
        and entry.concepts == [term.term]
        and "negation" not in entry.cues
        and not entry.names
    )


@cache
def term_pairs(side: Side) -> dict[str, tuple[str, ...]]:
    """Wordings and what may replace them; measuring units are in `unit_pairs`.

    Training: the other training wordings of the same concept, both ways. Evaluation: from any training wording to the
    concept's `noise_forms`, one way.
    """
    lexicon = load_lexicon()
    table: dict[str, tuple[str, ...]] = {}
    seen_in_training = _training_wordings()
    for term in lexicon.terms.values():
        if term.kind == UNIT:
            continue
        wordings = [wording for wording in term.training_wordings if _unambiguous(lexicon, wording, term)]
        reserved = [
            form
            for form in term.noise_forms
            if form.lower() not in seen_in_training and _unambiguous(lexicon, form, term)
        ]
        for wording in wordings:
            others = reserved if side == "test" else [other for other in wordings if other != wording]
            if others:
                table[wording] = tuple(others)
    return table


@cache
def unit_pairs(side: Side) -> dict[str, tuple[str, ...]]:
    """The same for measuring units, which are replaced only directly after a number (2天 → 2d)."""
    table: dict[str, tuple[str, ...]] = {}
    seen_in_training = _training_wordings()
    for term in load_lexicon().terms.values():
        if term.kind == UNIT:
            for wording in term.training_wordings:
                others = (
                    [form for form in term.noise_forms if form.lower() not in seen_in_training]
                    if side == "test"
                    else [other for other in term.training_wordings if other != wording]
                )
                if others:
                    table[wording] = tuple(others)
    return table


def marks(side: Side) -> dict[str, tuple[str, ...]]:
    """Punctuation and what stands in for it. On the training side no mark ends a clause less or more strongly than it did."""
    return _MARKS[side]


@cache
def reserved_wordings() -> frozenset[str]:
    """The wordings that only the evaluation noise puts in, in lower case."""
    return frozenset(
        form.lower()
        for table in (term_pairs("test"), unit_pairs("test"))
        for others in table.values()
        for form in others
    )


@cache
def _reserved_pairs() -> frozenset[frozenset[str]]:
    tables = (homophones("test"), lookalikes("test"), term_pairs("test"), unit_pairs("test"), marks("test"))
    return frozenset(
        frozenset((_bare(one), _bare(other)))
        for table in tables
        for one, others in table.items()
        for other in others
        if _bare(one) != _bare(other)
    )


def _bare(wording: str) -> str:
    """Without blanks and in lower case: tokenisers of Chinese encoders see neither."""
    return "".join(wording.split()).lower()


def is_reserved(old: str, new: str) -> bool:
    """Whether the evaluation noise replaces one of these by the other, blanks and letter case aside. Training must not, in either
    direction. Dropping characters (`new` empty) is no replacement."""
    one, other = _bare(old), _bare(new)
    full_width = len(one) == len(other) == 1 and abs(ord(one) - ord(other)) == FULL_WIDTH and one.isalpha()
    return full_width or frozenset((one, other)) in _reserved_pairs()


def gains_reserved(before: str, after: str) -> bool:
    """Whether `after` has a replacement or a wording of the evaluation noise that `before` has not.

    Compared are the pieces in which they differ, whole and, where they are of equal length, character by character.
    """
    pieces = (
        (before[start:end], after[other_start:other_end])
        for kind, start, end, other_start, other_end in SequenceMatcher(
            None, before, after, autojunk=False
        ).get_opcodes()
        if kind == "replace"
    )
    for old, new in pieces:
        if is_reserved(old, new):
            return True
        if len(old) == len(new) and any(map(is_reserved, old, new)):
            return True
    known = {match.wording.lower() for match in load_lexicon().matches(before)}
    return any(
        (wording := match.wording.lower()) in reserved_wordings() and wording not in known
        for match in load_lexicon().matches(after)
    )


@cache
def _training_wordings() -> frozenset[str]:
    """In lower case, as the models read them."""
    return frozenset(
        wording.lower() for term in load_lexicon().terms.values() for wording in term.training_wordings
    ) | frozenset(name.lower() for name in load_lexicon().disease_names())
