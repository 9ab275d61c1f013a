"""docs/settings.md names every setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from emr_fl_shared.config.settings import Settings, SiteSettings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def leaves(model: type[BaseModel]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += leaves(inner)
        else:
            found.append(name)
    return found


@pytest.mark.parametrize("name", sorted({*leaves(Settings), *leaves(SiteSettings)} - {"sites"}))
def test_every_setting_is_documented(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{name}`" in text or f".{name}`" in text
