from __future__ import annotations

import difflib
import random

from emr_fl_deploy.corpus.keystrokes import mistype, same_sound


def test_rate_is_kept() -> None:
    text = "".join(same_sound())  # every character once, so that the alignment is clear
    edits = 0
    for seed in range(4):
        changed = mistype(text, 0.01, random.Random(seed))
        matcher = difflib.SequenceMatcher(None, text, changed, autojunk=False)
        edits += sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")
    assert 110 <= edits <= 190  # 150 expected, sd 12


def test_numbers_and_latin_are_left_alone() -> None:
    text = "T 38.5 BP 150/95mmHg WBC 12.3"
    assert mistype(text, 0.9, random.Random(1)) == text


def test_zero_rate_changes_nothing() -> None:
    assert mistype("发热三天", 0.0, random.Random(1)) == "发热三天"


def test_homophones_sound_alike_and_differ() -> None:
    table = same_sound()
    assert len(table) == 3755  # GB2312 level 1
    assert "法" in table["发"]
    assert all(character not in others for character, others in table.items())
