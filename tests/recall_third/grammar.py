"""The small grammar that the notes are written in.

`[one|another]` is one of its alternatives (an empty one may be among them), `<word>` a phrase of `words.txt`,
`<3-14>` a whole number of the range, `{kind}` or `{kind2}` an identifier. Phrases may hold all of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
SLOT = re.compile(r"\{([a-z_]+)(\d?)\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_PHRASE = re.compile(r"<([a-z]+)>")
_RANGE = re.compile(r"<(\d+)-(\d+)>")


def blocks(path: Path) -> list[str]:
    """The blocks of a file, parted by an empty line; lines that begin with # are headings."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [block.strip("\n") for block in re.split(r"\n{2,}", "\n".join(lines)) if block.strip()]


def words() -> dict[str, list[str]]:
    """Phrases by their name: `name = one / another` lines of `words.txt`."""
    found = {}
    for line in (HERE / "words.txt").read_text(encoding="utf-8").splitlines():
        name, _, phrases = line.partition(" = ")
        if phrases:
            found[name] = phrases.split(" / ")
    return found


def expand(text: str, phrases: Mapping[str, Sequence[str]], random: Random) -> str:
    """`text` with its alternatives, phrases and numbers chosen; only identifiers' slots are left."""
    while True:
        before = text
        text = _CHOICE.sub(lambda m: random.choice(m[1].split("|")), text)
        text = _PHRASE.sub(lambda m: random.choice(phrases[m[1]]), text)
        text = _RANGE.sub(lambda m: str(random.randint(int(m[1]), int(m[2]))), text)
        if text == before:
            return text
