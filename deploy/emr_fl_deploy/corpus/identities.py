"""Invented identities: names, documents, numbers, places. Nothing here belongs to anybody."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

from emr_fl_deploy.corpus.resources import read_yaml

_CARD_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CARD_CHECKS = "10X98765432"
_OLD_CARD_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class Identity:
    """One invented person's identifiers by kind."""

    values: Mapping[str, str] = field(repr=False)
    region: int = 0


@cache
def _lists() -> Mapping[str, Any]:
    lists: Mapping[str, Any] = read_yaml("identities.yaml")
    return lists


def person_name(sex: str, rng: random.Random) -> str:
    """A Chinese name: common, compound surname, minority with ·, or one that is also a word."""
    lists, kind = _lists(), rng.random()
    if kind < 0.03:
        return str(rng.choice(lists["names_that_are_words"]))
    if kind < 0.045:
        return str(rng.choice(lists["minority_names"]))
    surname = rng.choice(lists["compound_surnames"]) if kind < 0.06 else rng.choice(lists["surnames"])
    own = lists["given_male"] if sex == "male" else lists["given_female"]
    given = rng.choice(own)
    if rng.random() < 0.72:
        given = rng.choice(own + lists["given_any"]) + given
    return str(surname + given)


class Issued:
    """Numbers that were given to somebody: who draws one of them gets the next free one instead."""

    def __init__(self) -> None:
        self._numbers: set[str] = set()

    def first_free(self, numbers: Iterable[str]) -> str:
        """The first of `numbers` that nobody has; from now on somebody has it. Raises ValueError if there is none."""
        for number in numbers:
            if number not in self._numbers:
                self._numbers.add(number)
                return number
        raise ValueError("all numbers of this kind are taken")


def id_card(
    region_code: str,
    born: date,
    sex: str,
    rng: random.Random,
    *,
    old: bool = False,
    issued: Issued | None = None,
) -> str:
    """An 18-digit identity number with its check digit (GB 11643-1999), or a 15-digit one of the form before 1999.

    None is given twice from one `issued`.
    """
    drawn = rng.randrange(500)
    orders = ((drawn + step) % 500 * 2 + (1 if sex == "male" else 0) for step in range(500))
    return (issued or Issued()).first_free(_card(region_code, born, order, old=old) for order in orders)


def _card(region_code: str, born: date, order: int, *, old: bool) -> str:
    if old:
        return f"{region_code}{born:%y%m%d}{order:03d}"
    body = f"{region_code}{born:%Y%m%d}{order:03d}"
    total = sum(weight * int(digit) for weight, digit in zip(_CARD_WEIGHTS, body, strict=True))
    return body + _CARD_CHECKS[total % 11]


def mobile(rng: random.Random) -> str:
    """A mobile number with a prefix in use."""
    return str(rng.choice(_lists()["phone_prefixes"])) + _digits(8, rng)


def bank_card(rng: random.Random) -> str:
    """A 19-digit card number that passes the Luhn check."""
    body = str(rng.choice(_lists()["bank_prefixes"])) + _digits(12, rng)
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def address(region: int, rng: random.Random) -> str:
    """A postal address: a real city, an invented street or village."""
    lists = _lists()
    place = lists["regions"][region]
    head = (place["province"] if rng.random() < 0.6 else "") + place["city"] + rng.choice(place["districts"])
    if not head[:2] or rng.random() < 0.3:
        return f"{head}{rng.choice(lists['towns'])}{rng.choice(lists['villages'])}{rng.randint(1, 12)}组"
    text = f"{head}{rng.choice(lists['streets'])}{rng.randint(1, 399)}号"
    if rng.random() < 0.6:
        text += f"{rng.choice(lists['estates'])}{rng.randint(1, 28)}栋{rng.randint(1, 24)}{rng.randint(0, 9):02d}室"
    return text


def hospital_name(rng: random.Random) -> str:
    """The name of an invented hospital."""
    return str(rng.choice(_lists()["hospital_places"]) + rng.choice(_lists()["hospital_kinds"]))


def insurance_number(rng: random.Random, issued: Issued) -> str:
    """A letter and eight digits; none is given twice from one `issued`."""
    letter, drawn = rng.choice("ABCDEY"), int(_digits(8, rng))
    return issued.first_free(f"{letter}{(drawn + step) % 10**8:08d}" for step in range(10**8))


def identity(number: int, sex: str, born: date, rng: random.Random, issued: Issued | None = None) -> Identity:
    """The identifiers that stay with a patient from visit to visit; no identity card or insurance number of `issued`."""
    issued = issued or Issued()
    region = rng.randrange(len(_lists()["regions"]))
    place = _lists()["regions"][region]
    old = born.year < 1980 and rng.random() < _OLD_CARD_SHARE
    values = {
        "patient_name": person_name(sex, rng),
        "relative_name": person_name(rng.choice(("male", "female")), rng),
        "id_card": id_card(place["code"], born, sex, rng, old=old, issued=issued),
        "phone": mobile(rng),
        "address": address(region, rng),
        "insurance_number": insurance_number(rng, issued),
        "record_number": f"{1_000_000 + number * 7 % 9_000_000:08d}",
        "employer": str(rng.choice(_lists()["employers"])),
    }
    return Identity(values, region)


def invent(kind: str, person: Identity, sex: str, day: date, age: int, rng: random.Random) -> str:
    """An identifier of `kind` as it would stand in a note of this person's visit on `day`."""
    lists = _lists()
    place = lists["regions"][person.region]
    if kind in person.values and (kind != "phone" or rng.random() < 0.7):
        return _disguised(person.values[kind], rng) if kind in ("phone", "id_card") else person.values[kind]
    match kind:
        case "staff_name":
            return person_name(rng.choice(("male", "female")), rng)
        case "phone":
            return _disguised(mobile(rng), rng)
        case "landline":
            return f"{place['area']}-{rng.randint(2, 8)}{_digits(7 if len(place['area']) == 3 else 6, rng)}"
        case "visit_number":
            return f"{rng.choice(('MZ', '', 'G'))}{day:%y%m%d}{_digits(4, rng)}"
        case "exam_number":
            return f"{rng.choice(('CT', 'US', 'B', 'MR', ''))}{_digits(7, rng)}"
        case "bed":
            return rng.choice(("", "", "+", "加")) + f"{rng.randint(1, 60)}{rng.choice(('床', '号床'))}"
        case "hospital":
            return hospital_name(rng)
        case "date":
            form = rng.choice(
                ("{y}年{m}月{d}日", "{y}-{m:02d}-{d:02d}", "{y}.{m}.{d}", "{y}/{m}/{d}", "{m}月{d}日")
            )
            return form.format(y=day.year, m=day.month, d=day.day)
        case "email":
            return f"{rng.choice('abcdefghjklmnpqrstwxyz')}{_letters(rng)}{_digits(3, rng)}@{rng.choice(lists['mail_domains'])}"
        case "wechat":
            return rng.choice(("wx_", "wxid", "v")) + _letters(rng) + _digits(4, rng)
        case "qq":
            return str(rng.randint(1, 9)) + _digits(rng.randint(7, 9), rng)
        case "plate":
            return f"{place['plate']}{rng.choice('ABCDEF')}{rng.choice('ABCDEFGHJKLMN')}{_digits(4, rng)}"
        case "bank_card":
            return bank_card(rng)
        case "passport":
            return rng.choice(("E", "G")) + _digits(8, rng) if rng.random() < 0.7 else "EA" + _digits(7, rng)
        case "permit":
            return rng.choice(("C", "W", "H", "M")) + _digits(8, rng)
        case "school":
            return str(place["districts"][0]) + str(rng.choice(lists["schools"]))
        case "age_over_90":
            return f"{age if age >= 90 else rng.randint(90, 99)}岁"
    raise ValueError(f"no identifiers of kind {kind}")


def _digits(count: int, rng: random.Random) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijkmnpqrstuvwxyz") for _ in range(rng.randint(3, 6)))


def _disguised(value: str, rng: random.Random) -> str:
    """Now and then a number is typed in groups or full width, or with an O for the 0."""
    drawn = rng.random()
    if len(value) == 11:
        if drawn < 0.08:
            return f"{value[:3]}-{value[3:7]}-{value[7:]}"
        if drawn < 0.12:
            return f"{value[:3]} {value[3:7]} {value[7:]}"
    if drawn > 0.96:
        return value.translate({code: code + 0xFEE0 for code in range(0x30, 0x3A)})
    if drawn > 0.94:
        return value[:3] + value[3:].replace("0", "O", 1)
    return value
