from __future__ import annotations

import random
from datetime import date

import pytest

from emr_fl_deploy.corpus.identities import (
    Issued,
    bank_card,
    id_card,
    identity,
    insurance_number,
    invent,
    mobile,
)
from emr_fl_deploy.corpus.resources import read_yaml

KINDS = sorted(read_yaml("identities.yaml")["phrases"])


def test_check_digit_of_the_standards_own_example() -> None:
    # GB 11643-1999, 4.2.5: 11010519491231002X; the order 002 is female and the seventh draw of randrange below
    class Fixed(random.Random):
        def randrange(self, *_: int) -> int:  # type: ignore[override]
            return 1

    assert id_card("110105", date(1949, 12, 31), "female", Fixed()) == "11010519491231002X"
    assert id_card("110105", date(1949, 12, 31), "female", Fixed(), old=True) == "110105491231002"


def test_sex_is_in_the_order_number() -> None:
    rng = random.Random(0)
    for sex, parity in (("male", 1), ("female", 0)):
        cards = [id_card("110105", date(1980, 1, 1), sex, rng) for _ in range(20)]
        assert {int(card[16]) % 2 for card in cards} == {parity}


@pytest.mark.parametrize("old", [False, True], ids=["18 digits", "15 digits"])
def test_no_identity_card_is_given_twice(old: bool) -> None:
    born, issued = date(1970, 1, 1), Issued()
    cards = [
        id_card("110105", born, "male", random.Random(seed), old=old, issued=issued) for seed in range(500)
    ]
    assert len(set(cards)) == 500, "as many as there are of one sex, day and place"
    assert {card[:-3] if old else card[:14] for card in cards} == {
        "110105700101" if old else "11010519700101"
    }
    with pytest.raises(ValueError, match="taken"):
        id_card("110105", born, "male", random.Random(0), old=old, issued=issued)


def test_who_draws_a_number_that_is_taken_gets_the_next() -> None:
    issued = Issued()
    first, second = (
        id_card("110105", date(1970, 1, 1), "male", random.Random(5), issued=issued) for _ in "ab"
    )
    assert int(second[14:17]) == (int(first[14:17]) + 2) % 1000
    # GB 11643-1999: the weighted digits and the check digit leave 1 modulo 11
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2, 1)
    digits = [10 if digit == "X" else int(digit) for digit in second]
    assert sum(weight * digit for weight, digit in zip(weights, digits, strict=True)) % 11 == 1
    one, two = (insurance_number(random.Random(5), issued) for _ in "ab")
    assert one[0] == two[0] and int(two[1:]) == (int(one[1:]) + 1) % 10**8


def test_bank_cards_pass_luhn() -> None:
    rng = random.Random(0)
    for _ in range(30):
        digits = [int(d) for d in bank_card(rng)][::-1]
        total = sum(d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(digits))
        assert total % 10 == 0
        assert len(digits) == 19


def test_mobiles_have_eleven_digits() -> None:
    rng = random.Random(0)
    assert all(len(number) == 11 and number[0] == "1" for number in (mobile(rng) for _ in range(50)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_invented(kind: str) -> None:
    rng = random.Random(3)
    person = identity(17, "female", date(1950, 5, 5), rng)
    values = {invent(kind, person, "female", date(2023, 3, 4), 72, rng) for _ in range(40)}
    assert all(value.strip() == value and len(value) >= 2 for value in values)
    assert len(values) >= 1


def test_an_unknown_kind_is_refused() -> None:
    rng = random.Random(3)
    person = identity(17, "female", date(1950, 5, 5), rng)
    with pytest.raises(ValueError, match="blood-group"):
        invent("blood-group", person, "female", date(2023, 3, 4), 72, rng)


def test_representation_shows_nothing() -> None:
    person = identity(17, "female", date(1950, 5, 5), random.Random(3))
    assert person.values["patient_name"] not in repr(person)
