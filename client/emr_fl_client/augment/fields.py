"""Missing fields and another order: a part of the note is left out; the items of one negated list change places.

无发热、咳嗽、腹痛 = 无腹痛、发热、咳嗽: the order inside one negated list has no meaning. Only whole parts are left out, because
half a sentence could turn its meaning; the result is then compared with the note without that part.
"""

from __future__ import annotations

import random
import re

from emr_fl_client.augment.operator import Operator
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis

_PART = re.compile(r"[^。\n]+(?:[。\n]+|$)")
_OPTIONAL = re.compile(
    r"\s*(?:既往|平素|个人史|家族史|婚育史|月经史|手术史|外伤史|否认|预防接种|吸烟|饮酒|查体|体格检查|体检|专科|PE|生命体征"
    r"|体温|T\s?[:：]?\d|BP|血压|辅助检查|辅检|化验|实验室|一般情况|神志|精神)"
)


def parts(text: str) -> list[tuple[int, int]]:
    """The spans between full stops or line breaks, each with the stop at its end; together they are the text."""
    return [match.span() for match in _PART.finditer(text)]


class Fields(Operator):
    """Leaves out one part in `drop_probability` of the calls and shuffles negated lists in all.

    Left out is a part that opens like past history, examination or general condition, or the first one (the chief complaint)
    of at least three. At least `shortest` characters remain.
    """

    name = "fields"

    def __init__(self, drop_probability: float = 0.3, shortest: int = 20) -> None:
        self.drop_probability = drop_probability
        self.shortest = shortest

    def shorten(self, text: str, rng: random.Random) -> str:
        if rng.random() >= self.drop_probability:
            return text
        spans = parts(text)
        optional = [
            (start, end)
            for index, (start, end) in enumerate(spans)
            if (_OPTIONAL.match(text, start) or (index == 0 and len(spans) > 2))
            and len(text) - (end - start) >= self.shortest
        ]
        if not optional:
            return text
        start, end = rng.choice(optional)
        return text[:start] + text[end:]

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        edits = []
        for found in analysis.lists:
            order = rng.sample(found.items, len(found.items))
            edits += [
                Edit(*place, analysis.text[slice(*item)])
                for place, item in zip(found.items, order, strict=True)
                if place != item
            ]
        return edits
