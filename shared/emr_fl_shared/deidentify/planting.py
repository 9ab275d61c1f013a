"""Invented identifiers of every kind, planted into a site's own texts in memory, so that the site can measure its recall.

Phrases and values (`resources/planting`) were written apart from the recognisers and their lists. What is planted is never written anywhere.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files

from emr_fl_shared.deidentify.measurement import Planted
from emr_fl_shared.deidentify.spans import KINDS

NAME_KINDS = ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME")
NAME_WEIGHT = 3
"""Names are most of what notes hold and what is missed: each of their kinds is planted three times as often as another."""
_ENDS = "。；;\n"
_LONGEST = 400


@cache
def phrases() -> dict[str, tuple[str, ...]]:
    """Phrases by kind, `{}` where the identifier stands."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for line in _lines("phrases.tsv")[1:]:
        kind, _, phrase = line.partition("\t")
        found[kind].append(phrase)
    return {kind: tuple(listed) for kind, listed in found.items()}


@cache
def _values() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in _lines("values.txt"):
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), [])
        else:
            current.extend(line.split())
    return {section: tuple(listed) for section, listed in found.items()}


def _lines(name: str) -> list[str]:
    text = (files("emr_fl_shared") / "resources" / "planting" / name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def plant(texts: Sequence[str], number: int, *, seed: int, staff: Sequence[str] = ()) -> Iterator[Planted]:
    """`number` texts with one identifier each, all kinds in turn; the same for the same texts, seed and `staff`.

    `texts` should hold no identifiers of their own; they are taken in turn and cut to 400 characters. With `staff`, the site's
    roster, every second staff name is one of it.
    """
    rng = random.Random(seed)
    deck: list[str] = []
    count: Counter[str] = Counter()
    for index in range(number):
        if not deck:
            deck = [kind for kind in KINDS for _ in range(NAME_WEIGHT if kind in NAME_KINDS else 1)]
            rng.shuffle(deck)
        kind = deck.pop()
        listed = phrases()[kind]
        before, after = listed[count[kind] % len(listed)].split("{}")
        count[kind] += 1
        from_roster = staff and kind == "STAFF_NAME" and count[kind] % 2 == 0
        value = rng.choice(staff) if from_roster else draw(kind, rng)
        carrier = texts[index % len(texts)][:_LONGEST] if texts else ""
        at = _place(carrier, rng)
        head = carrier[:at] + ("。" if at and carrier[at - 1] not in _ENDS else "") + before
        yield Planted(
            head + value + after + "。" + carrier[at:], ((len(head), len(head) + len(value), kind),)
        )


def _place(text: str, rng: random.Random) -> int:
    """The beginning, the end, or the end of a sentence."""
    return rng.choice([0, len(text), *(index + 1 for index, char in enumerate(text) if char in _ENDS)])


def draw(kind: str, rng: random.Random) -> str:
    """An invented identifier of a kind."""
    values = _values()

    def one(section: str) -> str:
        return rng.choice(values[section])

    def digits(number: int) -> str:
        return "".join(rng.choices("0123456789", k=number))

    if kind in NAME_KINDS:
        roll = rng.random()
        if roll < 0.04:
            return one("word_names")
        return one("minority") if roll < 0.07 else one("surnames") + one("given")
    if kind == "ADDRESS":
        place = rng.random()
        if place < 0.4:
            return f"{one('regions')}{one('streets')}{rng.randint(1, 200)}号"
        if place < 0.7:
            return f"{one('regions')}{one('villages')}"
        return f"{one('estates')}{rng.randint(1, 30)}号楼{rng.randint(1, 4)}单元{rng.randint(1, 20)}01室"
    if kind == "DATE":
        return _date(rng)
    if kind == "PHONE":
        number = rng.choice(("135", "136", "158", "182", "187", "191")) + digits(8)
        shape = rng.random()
        if shape < 0.15:
            return f"0{rng.choice(('537', '377', '558', '412'))}-{rng.randint(2, 8)}{digits(6)}"
        return f"{number[:3]}-{number[3:7]}-{number[7:]}" if shape < 0.3 else number
    if kind == "ID_CARD":
        born = f"{rng.randint(1938, 2016)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
        return f"{rng.choice(('370811', '411303', '341202', '210302'))}{born}{digits(3)}{rng.choice('0123456789X')}"
    simple = {
        "HOSPITAL": lambda: one("hospitals"),
        "DEPARTMENT": lambda: one("departments"),
        "BED_NUM": lambda: rng.choice(("{}床", "{}号床", "加{}床")).format(rng.randint(1, 60)),
        "VISIT_NUM": lambda: rng.choice(("", "MZ")) + digits(10),
        "RECORD_NUM": lambda: rng.choice(("", "ZY")) + digits(8),
        "EXAM_NUM": lambda: rng.choice(("", "CT", "BL")) + digits(8),
        "PERMIT": lambda: rng.choice("HM") + digits(8),
        "PASSPORT": lambda: rng.choice("EG") + digits(8),
        "INSURANCE_NUM": lambda: rng.choice("ABHK") + digits(9),
        "BANK_CARD": lambda: rng.choice(("6217", "6228")) + digits(15),
        "PLATE": lambda: one("plates") + rng.choice("ABCDE") + rng.choice(("", "·")) + digits(5),
        "EMAIL": lambda: f"mail{digits(5)}@example.cn",
        "QQ": lambda: rng.choice("123") + digits(8),
        "WECHAT": lambda: f"wxid_{digits(8)}",
        "EMPLOYER": lambda: one("employers"),
        "SCHOOL": lambda: one("schools"),
        "AGE90": lambda: f"{rng.randint(90, 103)}岁",
    }
    return simple[kind]()


def _date(rng: random.Random) -> str:
    year, month, day = rng.randint(2012, 2026), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice(
        (
            f"{year}-{month:02d}-{day:02d}",
            f"{year}年{month}月{day}日",
            f"{year}.{month}.{day}",
            f"{month}月{day}日",
            f"{year}/{month:02d}/{day:02d}",
        )
    )
