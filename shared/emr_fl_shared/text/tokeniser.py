"""The `tiny` model's tokeniser: one token a Chinese character, letter, digit or sign; placeholders stay whole.

It is an ordinary fast BERT tokeniser over a fixed vocabulary, so a folder it was saved to loads with
`AutoTokenizer.from_pretrained` where emr-fl is not installed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from emr_fl_shared.text.placeholders import placeholders

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@cache
def tiny_vocabulary() -> tuple[str, ...]:
    """The tokens of `resources/vocabulary/tiny.txt`; a token's position is its id."""
    path = files("emr_fl_shared") / "resources" / "vocabulary" / "tiny.txt"
    return tuple(path.read_text(encoding="utf-8").split("\n")[:-1])


def tiny_tokenizer(max_length: int = 128) -> PreTrainedTokenizerFast:
    """A new tokeniser over the tiny vocabulary.

    Letters are lower-cased; accents are kept (stripping them would decompose signs). Numbers split into digits:
    `38.5` → `3 ##8 . 5`, so every value is spelled with the same twenty tokens.
    `max_length` counts tokens with [CLS] and [SEP]; it becomes the tokeniser's `model_max_length`.
    """
    # exported lazily, which pyright does not see
    from transformers import BertTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

    tokenizer = BertTokenizerFast(
        vocab={token: index for index, token in enumerate(tiny_vocabulary())},
        do_lower_case=True,
        tokenize_chinese_chars=True,
        strip_accents=False,
        model_max_length=max_length,
    )
    add_placeholders(tokenizer)
    return tokenizer


def add_placeholders(tokenizer: PreTrainedTokenizerFast) -> int:
    """Teach any fast tokeniser the placeholders as whole tokens, in place.

    Returns how many were new to its vocabulary: the embedding matrix must grow by as many rows.
    """
    from transformers import AddedToken

    before = len(tokenizer)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in placeholders()])
    return len(tokenizer) - before
