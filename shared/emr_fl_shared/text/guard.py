"""What no change of a clinical text may break: found before, compared after.

`Guard.protected` marks characters that character-level changes keep off; `Guard.violations` reads both texts afresh and
compares their *facts*, kind by kind, so that a change is judged by its result and not by its intention.

Facts (order counts; letter case does not):

- `negation`: each cue with the list that it denies. A list is compared as a set of items, an item by the lexicon's
  concept: 无发热、咳嗽 = 无咳嗽、发烧, but not 无发热，咳嗽. Cues at the end of a clause (阴性, 未触及, (-)) deny what precedes them;
- `number`: prefix (≥ - ~ / …), digits, unit by concept (天 = d), and 余/前/后/以上 …; Chinese numerals with a unit; arrows and (+) as `sign`;
- `side` (every 左 右 双), `position`, `level` (C5, L4-5), `stage` (Ⅱ期, 2型, 轻度 as `severity`);
- `time` (order, onset, past or present), `trend` (加重, 好转 …), `uncertainty`, `experiencer` (whose illness), `demography`;
- `diagnosis`, `eponym`, `drug`, `route`, `allergy`, `placeholder`, and `phrase` (无明显诱因, 不能, 非酒精性 …: cues that negate no list).

Besides, no text may name a finding, vital sign, laboratory value or examination that it did not name before (`finding`).

Where a sentence can be read two ways the guard protects both readings. The facts of the last 20,000 texts are kept, since
training meets the same texts in every epoch.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from emr_fl_shared.text.lexicon import Entry, Lexicon, Match, leftmost_longest, load_lexicon
from emr_fl_shared.text.placeholders import PLACEHOLDER

FACT_KINDS = (
    "negation",
    "number",
    "sign",
    "level",
    "stage",
    "side",
    "position",
    "severity",
    "time",
    "trend",
    "uncertainty",
    "experiencer",
    "demography",
    "diagnosis",
    "eponym",
    "drug",
    "route",
    "allergy",
    "placeholder",
    "phrase",
    "finding",
)
FINDING = "finding"
"""The violation of a text that names a concept which was not there before: 右上腹痛 → 右下腹痛, 咳嗽 → 咳血. To lose one is a
typing error; to gain one is another illness."""
NEGATED = "negated"
"""Kind of a protected span inside the scope of a negation (the cue itself is of kind `negation`)."""

_LITERAL_CUES = frozenset(
    ("uncertainty", "experiencer", "time", "trend", "severity", "position", "demography", "allergy", "route")
)
_WORDED = _LITERAL_CUES | frozenset(("diagnosis", "eponym", "drug", "phrase"))
"""Kinds whose facts are wordings, and which a longer term may cover."""
_BOUNDARY = re.compile(r"[。；;！!？?\n，,]|(?<!\d)\.|\.(?!\d)")
_HARD = frozenset("。；;！!？?\n.")
_SEPARATOR = re.compile(r"\s*(?:[、，,/；;]|以及|及|和|与|或)\s*")
_TAIL = re.compile(r"(?:等)?(?:症状|不适|表现|传染病史|慢性病史|病史|疾病|体征|史)?$")
_SIDES = re.compile("[左右双]")
_PRIVATE_USE = 0xE000


class Protected(NamedTuple):
    """text[start:end] must stay as it is; `kind` is a fact kind or `negated`."""

    start: int
    end: int
    kind: str


class TermSpan(NamedTuple):
    """A lexicon wording that may be replaced by another wording of its concept."""

    start: int
    end: int
    wording: str
    negated: bool


class NegatedList(NamedTuple):
    """The item spans of one negated list; their order has no meaning."""

    items: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """One text as the guard reads it."""

    text: str = field(repr=False)
    protected: tuple[Protected, ...] = field(repr=False)
    free: tuple[int, ...] = field(repr=False)
    """Offsets of all characters in no protected span."""
    terms: tuple[TermSpan, ...] = field(repr=False)
    units: tuple[TermSpan, ...] = field(repr=False)
    lists: tuple[NegatedList, ...] = field(repr=False)
    facts: tuple[object, ...] = field(repr=False)
    """One value for each of `FACT_KINDS` but `finding`, comparable with `==`."""
    mentions: frozenset[str] = field(repr=False)
    """Every lexicon concept that the text names, also inside longer ones."""


@cache
def _pattern() -> re.Pattern[str]:
    lexicon = load_lexicon()
    units = sorted(lexicon.units, key=len, reverse=True)
    known = "|".join(
        re.escape(unit) + ("(?![A-Za-z])" if unit[-1].isascii() and unit[-1].isalpha() else "")
        for unit in units
    )
    return re.compile(
        rf"(?P<placeholder>{PLACEHOLDER.pattern})"
        r"|(?P<sign>[（(][+\-±]{1,4}[)）]|[↑↓→←]+)"
        r"|(?P<level>(?<![A-Za-z])(?:C[1-8]|T(?:1[0-2]|[1-9])|L[1-5]|S[1-5])(?![\d.A-Za-z]))"
        r"|(?P<stage>[Ⅰ-Ⅻ]+[a-cA-C]?(?:期|级|度|型)?|(?<![A-Za-z])[IVX]{1,4}[a-c]?(?:期|级|度|型)|[A-Z]型)"
        r"|(?P<prefix>[<>≤≥±~\-/×^])?\s?(?P<digits>\d+(?:\.\d+)?)"
        rf"(?: ?(?P<unit>周岁|岁|月龄|{known}|[%‰°℃]|[A-Za-zμ][A-Za-z0-9μ]*(?:/[A-Za-z]+)?(?![A-Za-z])"
        r"|个半月|月|日|号|次|片|粒|支|级|期|型|度|胎|分|秒|点|倍|毫克|克|毫升|升|包|盒|瓶))?"
        r"(?P<suffix>余|多|\+|以上|以下|左右|以内|前|后|内)?"
        r"|(?P<chinese>第?[一二三四五六七八九十百两半数几]+(?:余|多)?(?:个)?(?:半)?"
        r"(?:天|日|周|月|年|小时|分钟|次|岁|度|级|期|型|胎|片|粒|倍|点)(?:余|多|以上|以下|左右|以内|前|后|内)?)"
    )


def _fact_kind(cue: str) -> str:
    return "phrase" if cue == "pseudo_negation" else cue


def _is_item(entry: Entry) -> bool:
    """Whether a wording by itself is one item of a list: a concept or a name."""
    return bool(entry.concepts or entry.names) and not entry.denies


class Guard:
    """Reads texts; see the module's docstring. `remember` is how many analyses are kept."""

    def __init__(self, lexicon: Lexicon | None = None, *, remember: int = 20_000) -> None:
        self._lexicon = lexicon or load_lexicon()
        self._code = {term: chr(_PRIVATE_USE + index) for index, term in enumerate(self._lexicon.terms)}
        self._remember = remember
        self._known: OrderedDict[str, Analysis] = OrderedDict()

    def protected(self, text: str) -> list[Protected]:
        """The spans of `text` that character-level changes must leave alone, in reading order; they may overlap."""
        return list(self.analyse(text).protected)

    def violations(self, before: str, after: str) -> list[str]:
        """The kinds of facts in which `after` differs from `before`; empty if the meaning was kept."""
        return sorted(self._broken(before, after), key=FACT_KINDS.index) if before != after else []

    def keeps(self, before: str, after: str) -> bool:
        """Whether `violations` would be empty."""
        return before == after or not self._broken(before, after)

    def _broken(self, before: str, after: str) -> set[str]:
        old, new = self.analyse(before), _Reading(after, self._lexicon, self._code)
        broken = {
            kind for kind, one, other in zip(FACT_KINDS, old.facts, new.facts(), strict=False) if one != other
        }
        if not new.mentions_only(old.mentions):
            broken.add(FINDING)
        if broken & _WORDED:
            # A typing error inside 足背疼痛 uncovers 足背, which the term had covered: then the bare cues must be the same.
            plain = _Reading(before, self._lexicon, self._code).bare_cues()
            broken -= {kind for kind, values in new.bare_cues().items() if values == plain[kind]}
        return broken

    def analyse(self, text: str) -> Analysis:
        """`read`, remembered."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        analysis = self.read(text)
        self._known[text] = analysis
        if len(self._known) > self._remember:
            self._known.popitem(last=False)
        return analysis

    def read(self, text: str) -> Analysis:
        """Analyse `text` afresh."""
        return _Reading(text, self._lexicon, self._code).analysis()


class _Reading:
    """The work on one text, step by step."""

    def __init__(self, text: str, lexicon: Lexicon, code: dict[str, str]) -> None:
        self.text = text
        self.lexicon = lexicon
        self.code = code
        self.every_match = lexicon.all_matches(text)
        self.tokens = leftmost_longest(self.every_match)
        self.starts = [token[0] for token in self.tokens]
        self.boundaries = [match.start() for match in _BOUNDARY.finditer(text)]
        self.spans: list[tuple[int, int, str]] = []
        self.found: dict[str, list[object]] = {kind: [] for kind in FACT_KINDS if kind != FINDING}
        self.units: list[TermSpan] = []
        self.lists: list[NegatedList] = []
        self.denied: list[tuple[int, int]] = []
        self.kept_whole: list[tuple[int, int]] = []

    def facts(self) -> tuple[object, ...]:
        self._patterns()
        self._negations()
        self._cues_and_names()
        self.found["side"].append(_SIDES.findall(self.text))
        # ordered lists compare as well as tuples and need no copy
        return tuple(self.found.values())

    def mentions_only(self, allowed: frozenset[str]) -> bool:
        """Whether every concept that this text names is among `allowed`."""
        return all(not entry.clinical or entry.value in allowed for _, _, entry in self.tokens)

    def bare_cues(self) -> dict[str, list[str]]:
        """Cues and names by kind, read as if the lexicon had no terms."""
        found: dict[str, list[str]] = {kind: [] for kind in _WORDED}
        for _, _, entry in leftmost_longest(match for match in self.every_match if match.entry.special):
            for kind in (*entry.cues, *entry.names):
                if (kind := _fact_kind(kind)) in found:
                    found[kind].append(entry.wording)
        return found

    def analysis(self) -> Analysis:
        facts = self.facts()
        self._nested()
        mask = bytearray(len(self.text))
        for start, end, _ in self.spans:
            mask[start:end] = b"\x01" * (end - start)
        self.spans.sort()
        return Analysis(
            text=self.text,
            protected=tuple(Protected(*span) for span in self.spans),
            free=tuple(index for index, taken in enumerate(mask) if not taken),
            terms=tuple(self._replaceable()),
            units=tuple(self.units),
            lists=tuple(self.lists),
            facts=facts,
            mentions=frozenset(concept for _, _, entry in self.every_match for concept in entry.concepts),
        )

    # -- numbers, signs, placeholders ---------------------------------------------------------------------------------

    def _patterns(self) -> None:
        text = self.text
        for start, end, entry in self.tokens:
            if entry.has_digit and (entry.concepts or entry.names):  # the 2 of SpO2 is part of a name
                text = text[:start] + "\x00" * (end - start) + text[end:]
        for match in _pattern().finditer(text):
            kind = match.lastgroup
            if kind in ("placeholder", "level", "stage", "sign"):
                self.spans.append((match.start(), match.end(), kind))
                self.found[kind].append(match.group().replace("（", "(").replace("）", ")"))
                if kind == "sign" and "-" in match.group() and "+" not in match.group():
                    self._deny_backward(match.start(), "(-)")
            elif match["chinese"]:
                self.spans.append((match.start(), match.end(), "number"))
                self.found["number"].append(match.group())
            else:
                self._number(match)

    def _number(self, match: re.Match[str]) -> None:
        unit = match["unit"] or ""
        concept = self.lexicon.units.get(unit, unit)
        self.spans.append((match.start(), match.end(), "number"))
        self.found["number"].append((match["prefix"], match["digits"], concept, match["suffix"]))
        # 7月16日 and 2023年 are dates, not durations
        is_date = unit == "日" and self.text[match.start() - 1 : match.start()] == "月"
        if unit in self.lexicon.units and not is_date and len(match["digits"].split(".")[0]) <= 3:
            self.units.append(TermSpan(match.start("unit"), match.end("unit"), unit, False))

    # -- negation -----------------------------------------------------------------------------------------------------

    def _negations(self) -> None:
        for start, end, entry in self.tokens:
            if not entry.denies:
                continue
            self.spans.append((start, end, "negation"))
            clause_start, clause_end = self._clause(start)
            if self.text[end:clause_end].strip(" 、：:"):
                self._deny(end, self._bare_list_end(clause_end), entry.value)
            elif self.text[clause_start:start].strip():
                self._deny(clause_start, start, entry.value)
            else:
                self.found["negation"].append((entry.value, (), ""))

    def _deny_backward(self, position: int, cue: str) -> None:
        clause_start, _ = self._clause(position)
        if self.text[clause_start:position].strip():
            self._deny(clause_start, position, cue)

    def _deny(self, start: int, end: int, cue: str) -> None:
        self.spans.append((start, end, NEGATED))
        self.denied.append((start, end))
        # bound the list by its own tokens, so that 血压和心率 inside one term is not split
        key: list[str] = []
        position = start
        cuts: list[tuple[int, int]] = []
        for left, right, entry in self._tokens_between(start, end):
            if position < left:
                self._gap(position, left, key, cuts)
            key.append(self.code[entry.value] if entry.concepts else entry.value)
            position = right
        if position < end:
            self._gap(position, end, key, cuts)
        joined = "".join(key)
        tail = _TAIL.search(joined)
        if tail and tail.group():
            joined = joined[: tail.start()]
        items = [stripped for item in joined.split("\x00") if (stripped := item.strip())]
        self.found["negation"].append((cue, tuple(sorted(items)), tail.group() if tail else ""))
        self._list(start, end, cuts)

    def _gap(self, start: int, end: int, key: list[str], cuts: list[tuple[int, int]]) -> None:
        """Append text[start:end] to the key with separators as NUL; note where the separators are."""
        gap = self.text[start:end]
        key.append(_SEPARATOR.sub("\x00", gap.replace("\x00", "").replace("：", ":")).lower())
        cuts.extend((start + match.start(), start + match.end()) for match in _SEPARATOR.finditer(gap))

    def _list(self, start: int, end: int, cuts: list[tuple[int, int]]) -> None:
        """Note a list of at least two items whose order may be changed: each a lexicon term and nothing else."""
        edges = [start, *(edge for cut in cuts for edge in cut), end]
        items = []
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            inside = self._tokens_between(left, right)
            if len(inside) == 1 and inside[0].start == left and _is_item(inside[0].entry):
                items.append((left, inside[0].end))
                if inside[0].end == right:
                    continue
                if right == end and _TAIL.fullmatch(self.text[inside[0].end : right].strip()):
                    continue
                items.pop()
        # 高血压、冠心病史: the last item's 史 belongs to all, so it stays the last one
        if items and self.text[items[-1][1] - 1] == "史" and self.text[items[0][1] - 1] != "史":
            items.pop()
        if len(items) > 1 and all("\n" not in self.text[slice(*cut)] for cut in cuts):
            self.lists.append(NegatedList(tuple(items)))

    def _bare_list_end(self, end: int) -> int:
        """无发热，咳嗽，咳痰。: clauses that are findings and nothing else may belong to the list before them."""
        while end < len(self.text) and self.text[end] not in _HARD:
            _, next_end = self._clause(end + 1)
            inside = self._tokens_between(end + 1, next_end)
            rest = self.text[end + 1 : next_end]
            for token in reversed(inside):
                if not token.entry.concepts or not self.lexicon.terms[token.entry.concepts[0]].is_finding:
                    return end
                rest = rest[: token.start - end - 1] + rest[token.end - end - 1 :]
            if not inside or _SEPARATOR.sub("", rest).strip():
                return end
            end = next_end
        return end

    # -- cues and names -----------------------------------------------------------------------------------------------

    def _cues_and_names(self) -> None:
        for start, _, entry in self.tokens:
            if not entry.special:
                continue
            cues = entry.cues
            if "experiencer" in cues or "allergy" in cues:
                self._keep_whole(start, "experiencer" if "experiencer" in cues else "allergy")
            if self._within(start, self.denied):
                continue
            for kind in cues:
                if kind in _LITERAL_CUES:
                    self.found[kind].append(entry.value)
                elif kind == "pseudo_negation" and not entry.concepts:
                    self.found["phrase"].append(entry.value)
            if not entry.concepts:
                for kind in entry.names:
                    self.found[kind].append(entry.value)

    def _keep_whole(self, start: int, kind: str) -> None:
        """Another person's illness is protected from the mention to the clause's end, an allergy with its whole clause."""
        clause_start, clause_end = self._clause(start)
        if kind == "allergy":
            start = clause_start
        self.spans.append((start, clause_end, kind))
        self.kept_whole.append((start, clause_end))

    def _nested(self) -> None:
        """Protect cues and names also where they are part of a longer wording (无 in 无尿, 加重 in a finding)."""
        for start, end, entry in self.every_match:
            if entry.special:
                for kind in entry.cues:
                    self.spans.append((start, end, _fact_kind(kind)))
                for kind in entry.names:
                    self.spans.append((start, end, kind))

    def _replaceable(self) -> Iterable[TermSpan]:
        for start, end, entry in self.tokens:
            if len(entry.concepts) != 1 or entry.names or "allergy" in entry.cues:
                continue
            if not self._within(start, self.kept_whole):
                yield TermSpan(start, end, entry.wording, self._within(start, self.denied))

    @staticmethod
    def _within(position: int, spans: list[tuple[int, int]]) -> bool:
        for start, end in spans:  # noqa: SIM110 - any() over a generator costs three times as much here
            if start <= position < end:
                return True
        return False

    # -- places -------------------------------------------------------------------------------------------------------

    def _clause(self, position: int) -> tuple[int, int]:
        """The clause around `position`: from after the boundary before it to the boundary after it."""
        index = bisect_left(self.boundaries, position)
        start = self.boundaries[index - 1] + 1 if index else 0
        end = self.boundaries[index] if index < len(self.boundaries) else len(self.text)
        return start, end

    def _tokens_between(self, start: int, end: int) -> list[Match]:
        low, high = bisect_left(self.starts, start), bisect_right(self.starts, end)
        return [token for token in self.tokens[low:high] if token.end <= end]
