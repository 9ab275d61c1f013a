"""The guide for administrators quotes messages: each is one that the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUIDES = {"operate.md": "## What it says", "operate.zh-CN.md": "## 消息对照"}
OF_OTHERS = {"could not create a primitive"}
"""Said by torch."""


def quoted(guide: str) -> list[str]:
    """The messages in the first column of the table."""
    table = (ROOT / "docs" / guide).read_text(encoding="utf-8").partition(GUIDES[guide])[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")][2:]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def code() -> str:
    folders = ("shared", "client", "server", "deploy")
    return "\n".join(
        path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    )


@pytest.mark.parametrize("guide", GUIDES)
def test_every_message_is_one_that_the_code_says(guide: str, code: str) -> None:
    messages = quoted(guide)
    assert len(messages) > 25
    assert [message for message in messages if message not in code and message not in OF_OTHERS] == []


def test_both_languages_explain_the_same_messages() -> None:
    assert (
        len(quoted("operate.md")) == len(quoted("operate.zh-CN.md")) + 1
    )  # "another version of … than": two pieces
