"""From an export to labels: what is counted before a label's name may leave a site."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emr_fl_shared.labels import column_taxonomy, load_taxonomy
from emr_fl_shared.preparation import label_counts, prepare, prepare_records
from emr_fl_shared.records import Record


def export(path: Path, labels: list[str]) -> Path:
    rows = "".join(f"咳嗽三天,{label}\n" for label in labels)
    path.write_text("text,labels\n" + rows, encoding="utf-8")
    return path


def test_spellings_of_one_label_are_counted_together(tmp_path: Path) -> None:
    labels = ["COPD", "ＣＯＰＤ", "copd", "copd", "C OPD", "copd;COPD", "肺炎"]
    counts = label_counts(export(tmp_path / "a.csv", labels), None)
    assert counts == {"copd": 6, "肺炎": 1}
    assert len(column_taxonomy([*labels[:5], "肺炎"]).labels) == len(counts)


def patients(*records: Record) -> list[str]:
    return prepare_records(records, load_taxonomy("outpatient-50"), key=b"k" * 32).patients


def cough(**fields: Any) -> Record:
    return replace(Record(text="咳嗽三天", diagnosis_codes=("J06",)), **fields)


def test_a_record_without_a_patient_is_known_by_its_content_and_not_by_its_row() -> None:
    first, second = cough(record_id="1"), cough(record_id="2", text="咳嗽五天")
    before = patients(first, second)
    after = patients(
        cough(record_id="1", text="头痛"), cough(record_id="2"), cough(record_id="3", text="咳嗽五天")
    )
    assert after[1:] == before and len(set(after)) == 3


def test_equal_records_without_a_patient_are_several_patients() -> None:
    one, *more = patients(*[cough(record_id=str(number)) for number in range(3)])
    assert len({one, *more}) == 3
    assert patients(cough(record_id="9")) == [one]
    assert patients(cough(record_id="9", sex="女")) != [one]


def test_a_patients_records_have_one_pseudonym_that_is_not_the_number() -> None:
    one, two, other = patients(
        cough(patient_id="P1"), cough(patient_id="P1", text="头痛"), cough(patient_id="P2")
    )
    assert one == two != other and "P1" not in one


def test_the_month_of_the_visit() -> None:
    dates = ["2023-01-31", "20231201", "2024年5月6日", "2024", "", "昨天"]
    records = [cough(visit_date=date, patient_id="P") for date in dates]
    months = prepare_records(records, load_taxonomy("outpatient-50"), key=b"k" * 32).months
    assert months.tolist() == [2023 * 12, 2023 * 12 + 11, 2024 * 12 + 4, -1, -1, -1]


@pytest.mark.parametrize(
    "name", ["&#24352;&#24314;&#22269;", "&#24352；&#24314；&#22269；", "＆＃24352；&amp;#24314；&#22269;"]
)
@pytest.mark.parametrize("standardised", [False, True])
def test_a_name_in_entities_does_not_come_back(tmp_path: Path, name: str, standardised: bool) -> None:
    path = tmp_path / "export.csv"
    path.write_text(f"现病史,诊断编码\n患者{name}，咳嗽三天,J20.9\n", encoding="utf-8")
    (text,) = prepare(
        str(path), None, load_taxonomy("outpatient-50"), key=b"k" * 32, standardised=standardised
    ).texts
    assert text == "患者[PATIENT_NAME]，咳嗽三天"
