"""The fixed vocabulary of the `tiny` model, made from character ranges alone: nothing of it comes from records.

`resources/vocabulary/tiny.txt` is the output of `build_vocabulary`; a test holds the two together. Order of the tokens
is part of every saved model, so entries are only ever appended.
"""

from __future__ import annotations

from emr_fl_shared.text.placeholders import placeholders

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LATIN = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
GREEK = "αβγδεζηθικλμνξοπρσςτυφχψω"
CLINICAL_SIGNS = "↑↓→←±×÷≥≤≠≈∞√∑∆△▲□■○●◎☆★♂♀℃℉°‰∠⊥∥∵∴⊕⊙²³¹½¼¾①②③④⑤⑥⑦⑧⑨⑩ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹ"
"""Signs that are no punctuation for BERT's word splitter, so they may stand inside a word (`38℃`) and need a `##` form."""
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~，。、；：？！（）【】《》〈〉「」『』〔〕“”‘’—…·￥§「」"
BEYOND_GB2312 = "腘䓬噁瞤瘈齁馀䏡𬌗啰矇㿠㖞"
"""Characters of clinical writing that the 1980 standard lacks."""


def gb2312_hanzi() -> list[str]:
    """The 6,763 characters of GB/T 2312: level 1 (3,755, by sound), then level 2 (3,008, by radical)."""
    characters = []
    for row in range(0xB0, 0xF8):
        for cell in range(0xA1, 0xFF):
            try:
                characters.append(bytes((row, cell)).decode("gb2312"))
            except UnicodeDecodeError:
                continue
    return characters


def gb2312_level1() -> list[str]:
    """The 3,755 everyday characters of GB/T 2312, level 1."""
    return gb2312_hanzi()[:3755]


def build_vocabulary() -> list[str]:
    """All tokens of the `tiny` model in the order of their ids, without repetition."""
    inside_words = [*LATIN, *DIGITS, *GREEK, *CLINICAL_SIGNS.lower()]
    tokens = [
        *SPECIAL,
        *placeholders(),
        *PUNCTUATION,
        *inside_words,
        *(f"##{char}" for char in inside_words),
        *gb2312_hanzi(),
        *BEYOND_GB2312,
    ]
    return list(dict.fromkeys(tokens))
