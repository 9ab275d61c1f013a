"""Notes with marked facts, and a checker that does not know the guard: the generator knows what it wrote and looks for it again."""

from __future__ import annotations

import csv
import random
import re
from dataclasses import dataclass, field
from importlib.resources import files

SENTENCES = 500  # of four sentences each


def wordings_by_term() -> dict[str, set[str]]:
    """Symptoms and their training wordings straight from the tables."""
    table: dict[str, set[str]] = {}
    for path in sorted((files("emr_fl_shared") / "resources" / "lexicon" / "findings").iterdir(), key=str):
        rows = csv.DictReader(
            path.read_text(encoding="utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
        )
        for row in rows:
            lists = "|".join((row["synonyms"], row["colloquial"], row["abbreviations"]))
            table.setdefault(row["term"], set()).update({row["term"], *filter(None, lists.split("|"))})
    return table


WORDINGS = wordings_by_term()
# terms in whose wordings nothing else is marked, so that what is found in the output was written on purpose
PLAIN = sorted(
    term
    for term, forms in WORDINGS.items()
    if 2 <= len(term) <= 5
    and not re.search(r"[\d左右双、，无不未没否加重好转父亲男女及和与或史]", "".join(forms))
)
UNITS = {"天": {"天", "日", "d"}, "周": {"周", "星期", "礼拜", "w"}, "年": {"年", "y"}}


@dataclass
class Marked:
    """A note of four parts, each with the facts that it holds."""

    parts: list[str] = field(default_factory=list)
    denied: list[list[tuple[str, list[str]]]] = field(
        default_factory=list
    )  # for each part: cue and the denied terms
    durations: list[list[tuple[str, str]]] = field(default_factory=list)
    literals: list[list[str]] = field(default_factory=list)

    def add(
        self,
        text: str,
        denied: list[tuple[str, list[str]]],
        durations: list[tuple[str, str]],
        literals: list[str],
    ) -> None:
        self.parts.append(text)
        self.denied.append(denied)
        self.durations.append(durations)
        self.literals.append(literals)

    @property
    def text(self) -> str:
        return "".join(f"{part}。" for part in self.parts)


def note(seed: int) -> Marked:
    rng = random.Random(seed)
    a, b, c, d, e, f, g, h, i, j = rng.sample(PLAIN, 10)
    side, trend, sex = rng.choice("左右双"), rng.choice(("加重", "好转", "缓解")), rng.choice("男女")
    days, weeks, years = str(rng.randint(1, 29)), str(rng.randint(2, 9)), str(rng.randint(2, 30))
    heat, high = f"{rng.uniform(36, 40):.1f}", str(rng.randint(100, 180))
    made = Marked()
    made.add(f"{a}伴{b}{days}天", [], [(days, "天")], [])
    made.add(
        f"患者，{sex}，{weeks}周前于[HOSPITAL]就诊，{side}侧{c}，症状{trend}，伴{d}，无{e}、{f}、{g}，未见{h}，口服布洛芬0.3g，考虑肺炎待查",
        [("无", [e, f, g]), ("未见", [h])],
        [(weeks, "周")],
        [f"，{sex}，", side, trend, "布洛芬0.3g", "肺炎", "待查", "未见"],
    )
    made.add(
        f"既往{i}{years}年，父亲患高血压，否认{j}、{a}",
        [("否认", [j, a])],
        [(years, "年")],
        ["既往", "父亲患高血压", "否认"],
    )
    made.add(f"查体：体温{heat}℃，血压{high}/80mmHg，{b}", [], [], [heat, f"{high}/80"])
    return made


NOTES = [note(seed) for seed in range(SENTENCES)]


def problems(made: Marked, output: str, *, parts_left_out: int, placeholder: bool = True) -> list[str]:
    """What the output lost or gained against the note without one of its parts, for the best choice of that part."""
    choices = [set(range(len(made.parts)))]
    if parts_left_out:
        choices += [choices[0] - {missing} for missing in choices[0]]
    return min((_problems(made, output, sorted(kept), placeholder) for kept in choices), key=len)


def _problems(made: Marked, output: str, kept: list[int], placeholder: bool) -> list[str]:
    source = "".join(made.parts[index] for index in kept)
    found = []
    if re.findall(r"\d+(?:\.\d+)?", output) != re.findall(r"\d+(?:\.\d+)?", source):
        found.append("numbers")
    if re.findall("[左右双]", output) != re.findall("[左右双]", source):
        found.append("sides")
    if re.findall("加重|好转|缓解", output) != re.findall("加重|好转|缓解", source):
        found.append("trend")
    if placeholder and output.count("[HOSPITAL]") != source.count("[HOSPITAL]"):
        found.append("placeholder")
    for index in kept:
        found += [
            f"missing {literal}"
            for literal in made.literals[index]
            if literal not in re.sub(r"\s*[,，]\s*", "，", output)
        ]
        for number, unit in made.durations[index]:
            if not re.search(rf"(?<!\d){number}(?:{'|'.join(UNITS[unit])})", output):
                found.append("duration")
        for cue, terms in made.denied[index]:
            found += _denial_problems(output, cue, terms)
    expected = sum(len(made.denied[index]) for index in kept)
    if len(re.findall("无|未|否认|没|不", output)) != expected:
        found.append("negations gained or lost")
    return found


def _denial_problems(output: str, cue: str, terms: list[str]) -> list[str]:
    scopes = re.findall(rf"{cue}([^，,。；;.\n]*)", output)
    for scope in scopes:
        items = [item.strip() for item in scope.split("、") if item.strip()]
        if len(items) == len(terms) and all(any(item in WORDINGS[term] for item in items) for term in terms):
            return []
    return [f"list after {cue}"]
