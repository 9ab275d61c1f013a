"""Figures: numbers on their way from `results.json` to the reader, each with the place that it comes from.

Every number that the page shows is a `Figure`. In the page it carries `data-figure` (JSON Pointers, one a line) and,
if it was calculated, `data-of` (how), so that anyone can look it up or calculate it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from emr_fl_server.report.reading import Results, pointer

Number = float | int
Place = tuple[str | int, ...]
MISSING = "–"
MINUS = "−"


def percent(value: Number) -> str:
    """A fraction as percent, without its sign %: .6543 → 65.4."""
    return signless_zero(f"{100 * value:.1f}")


def points(value: Number) -> str:
    """A difference of fractions in percentage points, with its sign: +3.2, −0.4, 0.0."""
    text = signless_zero(f"{100 * value:.1f}")
    return text if text.startswith(MINUS) or text == "0.0" else "+" + text


def decimal(value: Number) -> str:
    """Three decimals: .036."""
    return signless_zero(f"{value:.3f}")


def short(value: Number) -> str:
    """One decimal, none from 100 on."""
    return signless_zero(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}")


def general(value: Number) -> str:
    """As few digits as it takes, no separators: 2026, 1e-05."""
    return signless_zero(f"{value:g}" if isinstance(value, float) else str(value))


def count(value: Number) -> str:
    """A whole number with separators: 12,345."""
    return f"{round(value):,}".replace("-", MINUS)


def size(value: Number) -> str:
    """Bytes in decimal units: 16.9 MB."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:.1f} {unit}"


def memory(value: Number) -> str:
    """Megabytes: 812 MB, 1.2 GB."""
    return f"{value:.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB"


def seconds(value: Number) -> str:
    """0.8 s, 12 s, 4 min 05 s, 1 h 02 min."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def signless_zero(text: str) -> str:
    """Formatted number with a real minus sign, and none where it rounds to zero."""
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.,") else MINUS + text[1:]
    return text


FORMATS: dict[str, Callable[[Number], str]] = {
    "percent": percent,
    "points": points,
    "decimal": decimal,
    "short": short,
    "count": count,
    "general": general,
    "size": size,
    "memory": memory,
    "seconds": seconds,
}


@dataclass(frozen=True)
class Figure:
    """A number, how it is written, and where it comes from.

    `of` is empty for a number that stands in the results as it is; else `difference` (first − second), `sum`, `mean`,
    `product`, `rest` (first − all others),
    or `length` (number of entries).
    """

    value: Number | None
    form: str
    places: tuple[str, ...]
    of: str = ""

    @property
    def text(self) -> str:
        """As the reader sees it."""
        return MISSING if self.value is None else FORMATS[self.form](self.value)

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes that say where the number comes from; none for a missing one."""
        if self.value is None:
            return {}
        found = {"data-figure": "\n".join(self.places), "data-format": self.form}
        return {**found, "data-of": self.of} if self.of else found

    @property
    def amount(self) -> float:
        """The number for drawing; 0 for a missing one."""
        return float(self.value or 0)

    @property
    def sort_key(self) -> str:
        """What a table is sorted by; empty for a missing number."""
        return "" if self.value is None else repr(self.value)

    def __bool__(self) -> bool:
        return self.value is not None

    def __html__(self) -> str:
        if self.value is None:
            return Markup('<span class="missing">{}</span>').format(MISSING)
        attributes = Markup(" ").join(
            Markup('{}="{}"').format(name, value) for name, value in self.attributes.items()
        )
        return Markup('<data value="{}" {}>{}</data>').format(repr(self.value), attributes, self.text)


class Figures:
    """Makes figures from results."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def of(self, form: str, *place: str | int) -> Figure:
        """The number at `place` as it stands."""
        return Figure(self.results.number(*place), form, (pointer(*place),))

    def difference(self, form: str, minuend: Place, subtrahend: Place) -> Figure:
        """The first minus the second, before rounding."""
        first, second = self.results.number(*minuend), self.results.number(*subtrahend)
        value = first - second if first is not None and second is not None else None
        return Figure(value, form, (pointer(*minuend), pointer(*subtrahend)), "difference")

    def total(self, form: str, places: Sequence[Place]) -> Figure:
        """The sum; missing as soon as one number is."""
        values = [self.results.number(*place) for place in places]
        known = [value for value in values if value is not None]
        value = sum(known) if known and len(known) == len(values) else None
        return Figure(value, form, tuple(pointer(*place) for place in places), "sum")

    def mean(self, form: str, places: Sequence[Place]) -> Figure:
        """The mean of the numbers that are there."""
        known = [(place, value) for place in places if (value := self.results.number(*place)) is not None]
        value = sum(number for _, number in known) / len(known) if known else None
        return Figure(value, form, tuple(pointer(*place) for place, _ in known), "mean")

    def product(self, form: str, places: Sequence[Place]) -> Figure:
        """All multiplied; missing as soon as one number is."""
        value: Number | None = 1
        for place in places:
            factor = self.results.number(*place)
            value = None if value is None or factor is None else value * factor
        return Figure(value, form, tuple(pointer(*place) for place in places), "product")

    def length(self, *place: str | int) -> Figure:
        """How many entries the object or array at `place` has."""
        found = self.results.get(*place)
        value = len(found) if isinstance(found, dict | list) else None
        return Figure(value, "count", (pointer(*place),), "length")

    def rest(self, form: str, whole: Place, parts: Sequence[Place]) -> Figure:
        """The whole minus all parts that are there; missing when the whole is, or when the parts exceed it."""
        known = [(place, value) for place in parts if (value := self.results.number(*place)) is not None]
        total = self.results.number(*whole)
        value = None if total is None else total - sum(number for _, number in known)
        if value is not None and value < 0:
            value = None
        return Figure(value, form, (pointer(*whole), *(pointer(*place) for place, _ in known)), "rest")
