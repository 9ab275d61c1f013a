"""Texts and records as a whole: the row's own identifiers, pseudonyms, operators, audit, recall, nothing in errors or logs."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from emr_fl_shared.deidentify import AuditReport, Deidentifier, Planted, Span, measure_recall
from emr_fl_shared.deidentify.measurement import recall_table
from emr_fl_shared.deidentify.operators import band, kind_name, quarter, year_and_quarter
from emr_fl_shared.deidentify.pseudonym import pseudonym
from emr_fl_shared.deidentify.spans import KINDS, settle
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import set_language
from emr_fl_shared.records import Record

_spec = importlib.util.spec_from_file_location("planted_notes", Path(__file__).with_name("planted_notes.py"))
assert _spec is not None and _spec.loader is not None
_planted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_planted)
HANDS, TEMPLATES, planted_notes = _planted.HANDS, _planted.TEMPLATES, _planted.planted_notes

RECORD = Record(
    record_id="20240305001",
    patient_id="P0088123",
    visit_date="2024-03-05",
    department="心内科二病区",
    sex="男",
    age="93",
    chief_complaint="高兴反复胸闷2年",
    present_illness="老高诉2年前于衡州市第二人民医院诊断冠心病，电话138 0013 8000，就诊序号20240305001。",
    past_history="高血压10年，病历P0088123。",
    diagnosis_codes=("I25.1",),
    diagnosis_text="冠心病（高兴）",
    labels=("缺血性心脏病",),
    identifiers={"patient_name": "高兴", "phone": "13800138000", "id_card": "110105193012310021"},
)


@pytest.fixture
def cleaner() -> Deidentifier:
    return Deidentifier(key=b"key of the site")


def test_record(cleaner: Deidentifier) -> None:
    clean, counts = cleaner.record(RECORD)
    assert clean.chief_complaint == "[PATIENT_NAME]反复胸闷2年"
    assert clean.present_illness == (
        "[PATIENT_NAME]诉2年前于[HOSPITAL]诊断冠心病，电话[PHONE]，就诊序号[RECORD_NUM]。"
    )
    assert clean.past_history == "高血压10年，病历[RECORD_NUM]。"
    assert clean.diagnosis_text == "冠心病（[PATIENT_NAME]）"
    assert clean.department == "[DEPARTMENT]"
    assert (clean.visit_date, clean.age, clean.sex) == ("2024-Q1", "90+", "男")
    assert (clean.diagnosis_codes, clean.labels) == (RECORD.diagnosis_codes, RECORD.labels)
    assert clean.identifiers == {}
    assert counts == Counter(PATIENT_NAME=3, HOSPITAL=1, PHONE=1, RECORD_NUM=2, DEPARTMENT=1)


def test_nothing_of_the_row_is_left(cleaner: Deidentifier) -> None:
    clean, _ = cleaner.record(RECORD)
    everything = " ".join(str(getattr(clean, name)) for name in Record.__slots__) + cleaner.audit.to_json()
    for value in ("高兴", "13800138000", "138 0013", "110105193012310021", "P0088123", "20240305001", "衡州"):
        assert value not in everything


def test_pseudonyms_are_stable_keyed_and_apart(cleaner: Deidentifier) -> None:
    clean, _ = cleaner.record(RECORD)
    again, _ = Deidentifier(key=b"key of the site").record(RECORD)
    other, _ = Deidentifier(key=b"another").record(RECORD)
    assert clean.patient_id == again.patient_id != other.patient_id
    assert clean.patient_id != clean.record_id
    assert len(clean.patient_id) == 32
    # HMAC-SHA256, computed apart from the package
    import hashlib
    import hmac

    expected = hmac.new(b"key of the site", b"patient\x1fP0088123", hashlib.sha256).hexdigest()[:32]
    assert clean.patient_id == expected
    with pytest.raises(ValueError):
        pseudonym(b"", "patient", "1")


def test_records_without_a_patient_are_patients_of_their_own(cleaner: Deidentifier) -> None:
    first, _ = cleaner.record(Record(record_id="2", text="咳嗽"))
    second, _ = cleaner.record(Record(record_id="3", text="咳嗽"))
    assert first.patient_id and first.patient_id != second.patient_id


def test_without_a_key_pseudonyms_differ_between_cleaners() -> None:
    assert Deidentifier().record(RECORD)[0].patient_id != Deidentifier().record(RECORD)[0].patient_id


@pytest.mark.parametrize(
    ("known", "text", "cleaned"),
    [
        ({"patient_name": "常青"}, "常青反复咳嗽", "[PATIENT_NAME]反复咳嗽"),
        ({"patient_name": "张建国"}, "建国诉头痛，张 建 国，张**，老张说", "[PATIENT_NAME]诉头痛，[PATIENT_NAME]，[PATIENT_NAME]，[PATIENT_NAME]说"),
        ({"patient_name": "张平安"}, "一路平安", "一路平安"),
        ({"doctor": "方向/白芍"}, "方向看过，白芍复核", "[STAFF_NAME]看过，[STAFF_NAME]复核"),
        ({"phone": "0571-8765432"}, "打05718765432", "打[PHONE]"),
        ({"record_number": "AB-00123"}, "号ab 00123有误，AB001234不同", "号[RECORD_NUM]有误，AB001234不同"),
        ({"visit_number": "123456"}, "123456.7 9123456 1234562.复诊", "[VISIT_NUM].7 9123456 [VISIT_NUM]2.复诊"),
        ({"visit_number": "1234"}, "血小板1234", "血小板1234"),
        ({"address": "河北省邯郸市永年区桃源路3号楼2单元"}, "在桃源路3号楼晕倒", "在[ADDRESS]晕倒"),
        ({"bed": "7"}, "7床，血糖7.2，7岁", "[BED_NUM]，血糖7.2，7岁"),
        ({"hospital": "同心堂"}, "同心堂开药", "[HOSPITAL]开药"),
        ({"email": "a@b"}, "a@b", "[EMAIL]"),
    ],
)  # fmt: skip
def test_the_rows_own_identifiers(
    cleaner: Deidentifier, known: dict[str, str], text: str, cleaned: str
) -> None:
    assert cleaner.text(text, known)[0] == cleaned


def test_a_removal_may_uncover_another(cleaner: Deidentifier) -> None:
    text = "张建国13800138000，身份证11010519491231002X李四陪同"
    cleaned, spans = cleaner.text(text)
    assert cleaner.text(cleaned) == (cleaned, [])
    rebuilt, position = "", 0
    for span in spans:
        rebuilt += text[position : span.start] + f"[{span.kind}]"
        position = span.end
    assert rebuilt + text[position:] == cleaned


def test_operators_generalise(cleaner: Deidentifier) -> None:
    general = Deidentifier(key=b"k", operators={"DATE": quarter, "AGE90": band})
    text = "患者95岁，2024年5月3日起病，3月5日加重"
    cleaned, _ = general.text(text)
    assert cleaned == "患者90岁以上，2024年第2季度起病，[DATE]加重"
    assert general.text(cleaned) == (cleaned, [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-31", ("2024", 1)),
        ("2024/4/1 08:30", ("2024", 2)),
        ("20240930", ("2024", 3)),
        ("２０２４年１２月", ("2024", 4)),
        ("2024", None),
        ("3月5日", None),
        ("", None),
    ],
)
def test_quarters(value: str, expected: tuple[str, int] | None) -> None:
    assert year_and_quarter(value) == expected


@pytest.mark.parametrize(
    ("age", "kept"), [("93岁", "90+"), ("９０", "90+"), ("89", "89"), ("95天", "95天"), ("", "")]
)
def test_ages_of_records(cleaner: Deidentifier, age: str, kept: str) -> None:
    assert cleaner.record(Record(record_id="1", age=age))[0].age == kept


def test_settling_keeps_what_was_sure() -> None:
    address, phone = Span(0, 20, "ADDRESS", 0.93), Span(15, 25, "PHONE", 0.96)
    assert settle([address, phone]) == [Span(0, 15, "ADDRESS", 0.93), phone]
    doubtful = Span(0, 20, "RELATIVE_NAME", 0.5)
    assert settle([doubtful, phone]) == [phone]
    assert settle([Span(0, 3, "DATE", 0.9), Span(3, 5, "DATE", 0.9)]) == [Span(0, 5, "DATE", 0.9)]


def test_audit_counts_merges_and_round_trips(cleaner: Deidentifier) -> None:
    cleaner.record(RECORD)
    cleaner.record(Record(record_id="7", text="咳嗽3天"))
    report = cleaner.audit
    assert (report.records, report.changed) == (2, 1)
    assert report.by_kind["PATIENT_NAME"] == 3
    assert report.removed["present_illness"] == Counter(PATIENT_NAME=1, HOSPITAL=1, PHONE=1, RECORD_NUM=1)
    both = report.merge(report)
    assert (both.records, both.by_kind["PHONE"], report.by_kind["PHONE"]) == (4, 2, 1)
    assert AuditReport.from_json(both.to_json()) == both
    assert json.loads(report.to_json())["by_kind"]["PHONE"] == 1
    with pytest.raises(DataError):
        AuditReport.from_json("{}")


def test_kind_names_in_both_languages() -> None:
    for language in ("zh", "en"):
        set_language(language)
        assert all(kind_name(kind) != kind or kind == "QQ" for kind in KINDS)
    set_language(None)


# Recall on invented notes. The floors are below what is measured, so that they fail when something is lost and not by chance;
# `python tests/shared/deidentify/test_deidentifier.py` prints the table.


@pytest.mark.parametrize(
    ("hand", "with_row", "floor", "floor_names"),
    [
        (1, False, 0.985, 0.94),
        (1, True, 0.985, 0.94),
        (2, False, 0.97, 0.88),
        (2, True, 0.97, 0.88),
        (3, False, 0.95, 0.85),
        (3, True, 0.95, 0.85),
    ],
)
def test_recall(hand: int, with_row: bool, floor: float, floor_names: float) -> None:
    notes = planted_notes(len(HANDS[hand][0]) * 8, seed=7, hand=hand)
    if not with_row:
        notes = [Planted(note.text, note.truth) for note in notes]
    rows = {row.kind: row for row in measure_recall(notes, Deidentifier(key=b"k"))}
    table = recall_table(list(rows.values()))
    assert rows["all"].planted > 300, table
    assert rows["all"].recall >= floor, table
    for kind in ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME"):
        assert rows[kind].recall >= floor_names, table
    for kind in ("ID_CARD", "PHONE", "INSURANCE_NUM", "BANK_CARD", "EMAIL"):
        assert rows[kind].recall == 1.0, table


def test_recall_counts_what_is_left() -> None:
    class Blind:
        name = "blind"
        kinds = ("PHONE",)

        def find(self, text: str, known: object) -> list[Span]:
            return [Span(0, 3, "PHONE", 1.0)]

    note = Planted("1234 5678", ((0, 3, "PHONE"), (0, 3, "QQ"), (5, 9, "PHONE")))
    rows = {row.kind: row for row in measure_recall([note], Deidentifier([Blind()], key=b"k"))}
    assert (rows["PHONE"].planted, rows["PHONE"].removed, rows["PHONE"].right) == (2, 1, 1)
    assert (rows["QQ"].removed, rows["QQ"].right) == (1, 0)
    assert rows["all"].recall == pytest.approx(2 / 3)


def test_other_values_in_the_note_survive(cleaner: Deidentifier) -> None:
    """What stands between planted identifiers stays: cleaned text = template with placeholders."""
    lost = 0
    notes = planted_notes(len(TEMPLATES) * 4, seed=3)
    for note in notes:
        _, spans = cleaner.text(note.text, note.known)
        lost += any(
            not any(start < span.end and span.start < end for start, end, _ in note.truth) for span in spans
        )
    assert lost == 0


def test_nothing_is_logged_or_shown(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    cleaner = Deidentifier(key=b"k")
    for note in planted_notes(60, seed=1):
        _, spans = cleaner.text(note.text, note.known)
        shown = repr(spans) + repr(note) + repr(cleaner)
        assert all(
            note.text[start:end] not in shown
            for start, end, kind in note.truth
            if kind != "AGE90" and end - start > 3
        )
    assert caplog.text == "" and "".join(capsys.readouterr()) == ""


if __name__ == "__main__":
    for hand in HANDS:
        for label, drop in (("with the row's identifiers", False), ("text only", True)):
            measured = planted_notes(2000, seed=7, hand=hand)
            if drop:
                measured = [Planted(note.text, note.truth) for note in measured]
            print(f"\nhand {hand}, {label}\n")
            print(recall_table(measure_recall(measured)))
