from __future__ import annotations

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.text import entities
from emr_fl_shared.text.entities import without_entities

PIECES = ["&", "＆", "#", "amp", "lt", "24352", "x5F20", ";", "；", "张", "&amp;", "&#38;", "&nbsp；"]


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_twice_is_once_and_never_longer(text: str) -> None:
    once = without_entities(text)
    assert without_entities(once) == once and len(once) <= len(text)


def test_documentation_examples() -> None:
    assert doctest.testmod(entities).attempted == 1 and doctest.testmod(entities).failed == 0
