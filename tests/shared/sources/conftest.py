"""Messages of the sources are compared in English."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emr_fl_shared.messages import set_language


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    set_language("en")
    yield
    set_language(None)
