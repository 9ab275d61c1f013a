"""Removing what identifies a person before anything else sees the text."""

from __future__ import annotations

from emr_fl_shared.deidentify.audit import AuditReport
from emr_fl_shared.deidentify.deidentifier import Deidentifier
from emr_fl_shared.deidentify.measurement import KindRecall, Planted, measure_recall
from emr_fl_shared.deidentify.registry import Card, Recogniser, card, names, recognisers, register
from emr_fl_shared.deidentify.spans import KINDS, Span

__all__ = [
    "KINDS",
    "AuditReport",
    "Card",
    "Deidentifier",
    "KindRecall",
    "Planted",
    "Recogniser",
    "Span",
    "card",
    "measure_recall",
    "names",
    "recognisers",
    "register",
]
