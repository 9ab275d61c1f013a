"""Diagnoses written as text, to categories of ICD-10.

A cell is split into terms; each term is compared as a whole with the dictionary `resources/labels/diagnoses.tsv`, never in part.
What is said about a diagnosis decides first:

- in doubt (待查, ？, 疑似, 考虑 …) → `uncertain`; but a symptom whose cause is sought (发热待查) is a symptom all the same;
- excluded (排除, 除外, 否认) → `excluded`;
- in the past (史, 术后, 后 …) → `history`.

None of these gives a label, unless the dictionary has the term itself (脑梗死后遗症). Side, stage, grade, course and what stands in
brackets (左侧, 2级, 急性发作, （很高危）) do not change the category and are left away.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from emr_fl_shared.labels.icd10 import UNMAPPED
from emr_fl_shared.labels.names import fold_name

UNCERTAIN = "uncertain"
EXCLUDED = "excluded"
HISTORY = "history"

_SEPARATORS = re.compile(
    r"(?:^|\s|[;；|｜、，,。]\s*)[(（]?\d{1,2}[.、)）．]\s*|[(（]\d{1,2}[)）]|[①-⑳]|[;；|｜、，,。\r\n]+"
)
_UNCERTAIN = re.compile(
    r"待[查排诊定除]|查因|可能|可疑|疑|考虑|不除外|不能除外|不排除|不能排除|未排除|未除外|倾向|拟诊|\?"
)
_CAUSE_SOUGHT = re.compile(r"(?:原因)?(?:待查|待诊|查因)$")
_EXCLUDED = re.compile(r"排除|除外|^否认")
_HISTORY = re.compile(r"史|^既往|^曾|术后|后遗|后状态|后$|恢复期|康复期|治疗中|已愈|痊愈|化疗|放疗")
_BRACKETS = re.compile(r"[(\[【][^)\]】]*[)\]】]?")
_BEFORE = re.compile(r"^(?:左侧|右侧|双侧|两侧|左|右|双|轻度|中度|重度)(?=..)")
_BEHIND = re.compile(
    r"(?<=..)(?:急性加重期?|急性发作期?|发作期|稳定期|缓解期|活动期|复发"
    r"|(?:[1-4一二三四]|i{1,3}|iv)[级期度]|(?:很高|极高|高|中|低)危组?|轻度|中度|重度|[-:*.]+)$"
)


@dataclass(frozen=True)
class Diagnoses:
    """The dictionary: `categories` maps a folded name to a category such as `I10`."""

    name: str
    version: str
    checksum: str
    """SHA-256 (hex) of the file."""
    categories: Mapping[str, str] = field(repr=False)


@cache
def load_diagnoses() -> Diagnoses:
    """The built-in dictionary. A term that stood in two categories would be an error of the file, which a test looks for."""
    text = (files("emr_fl_shared") / "resources" / "labels" / "diagnoses.tsv").read_text("utf-8")
    about: dict[str, str] = {}
    categories: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            about[key.strip()] = value.strip()
            continue
        category, _, names = line.partition("\t")
        if category != "icd10":
            categories.update((fold_name(name), category) for name in names.split("|"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Diagnoses(about["name"], about["version"], checksum, categories)


def split_terms(text: str) -> tuple[str, ...]:
    """The terms of a cell, in order, each once.

    >>> split_terms("1.高血压病 2.糖尿病；上感")
    ('高血压病', '糖尿病', '上感')
    """
    return tuple(dict.fromkeys(part for part in map(str.strip, _SEPARATORS.split(text)) if part))


def read_term(term: str) -> tuple[str, str]:
    """(category, "") of a term, or ("", reason): `uncertain`, `excluded`, `history` or `unmapped`. Never raises.

    >>> read_term("高血压病（2级 很高危）"), read_term("肺炎？"), read_term("发热待查"), read_term("脑梗死后遗症")
    (('I10', ''), ('', 'uncertain'), ('R50', ''), ('I69', ''))
    """
    known = load_diagnoses().categories
    folded = fold_name(term)
    if folded in known:
        return known[folded], ""
    if _UNCERTAIN.search(folded):
        symptom = known.get(_CAUSE_SOUGHT.sub("", folded), "")
        return (symptom, "") if symptom.startswith("R") else ("", UNCERTAIN)
    if _EXCLUDED.search(folded):
        return "", EXCLUDED
    bare = _BRACKETS.sub("", folded)
    if bare in known and not _HISTORY.search("".join(_BRACKETS.findall(folded))):
        return known[bare], ""
    if _HISTORY.search(folded):
        return "", HISTORY
    while bare not in known:
        shorter = _BEHIND.sub("", _BEFORE.sub("", bare))
        if shorter == bare:
            return "", UNMAPPED
        bare = shorter
    return known[bare], ""
