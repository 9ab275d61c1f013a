"""HTML entities as the characters they stand for.

It comes before anything looks for identifiers: `&#24352;` is a surname that no pattern sees. Nothing later reads entities, or a name
could come back.
"""

from __future__ import annotations

import html
import re
import unicodedata

_ENTITY = re.compile(
    r"[&＆](?:[#＃]\d{1,7}|[#＃][xXｘＸ][0-9a-fA-F０-９ａ-ｆＡ-Ｆ]{1,6}|[A-Za-zＡ-Ｚａ-ｚ][A-Za-z0-9Ａ-Ｚａ-ｚ０-９]{1,30})[;；]"
)


def without_entities(text: str) -> str:
    """`text` with its entities read, `&amp;#24352;` too, and however wide they are typed; what stands for no character stays.

    >>> without_entities("&#24352;三，T&lt;38&amp;#8451；")
    '张三，T<38℃'
    """
    before = None
    while before != text and ("&" in text or "＆" in text):
        before, text = text, _ENTITY.sub(_character, text)
    return text


def _character(match: re.Match[str]) -> str:
    narrow = unicodedata.normalize("NFKC", match[0])
    read = html.unescape(narrow)
    return match[0] if read == narrow else read
