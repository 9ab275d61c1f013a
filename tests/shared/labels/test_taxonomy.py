"""Label sets: built in, from a file, from the data; and the labels of a record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emr_fl_shared.errors import DataError, SettingsError
from emr_fl_shared.labels import Taxonomy, column_taxonomy, load_taxonomy, map_labels
from emr_fl_shared.messages import set_language
from emr_fl_shared.records import Record


@pytest.fixture(autouse=True)
def _english():
    set_language("en")
    yield
    set_language(None)


@pytest.fixture(scope="module")
def fifty() -> Taxonomy:
    return load_taxonomy("outpatient-50")


def test_built_in(fifty: Taxonomy) -> None:
    assert len(fifty) == len(fifty.names) == len(set(fifty.names)) == 50
    assert [label.id for label in fifty.labels] == list(range(1, 51))
    assert (fifty.name, fifty.version) == ("outpatient-50", "1")
    assert fifty.labels[0].chapter == "IX" and fifty.labels[33].chapter == "VII"
    assert all(label.chapter for label in fifty.labels)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("I10.x00x002", "高血压"),
        ("E78.500", "血脂异常"),
        ("I84.200", "痔与肛周疾病"),
        ("K64.9", "痔与肛周疾病"),
        ("G45.9", "脑血管病"),
        ("G47.0", "睡眠障碍"),
        ("R42", "耳病与眩晕"),
        ("R51.x00", "头痛与偏头痛"),
        ("D05.1", "恶性肿瘤"),
        ("Z00.0", "健康检查随访与就诊因素"),
    ],
)
def test_codes_to_labels(fifty: Taxonomy, code: str, name: str) -> None:
    result = fifty.of_code(code)
    assert result.index is not None
    assert fifty.names[result.index] == name


@pytest.mark.parametrize("name", ["高血压", " 高 血压", "hypertension", "HYPERTENSION", "1"])
def test_labels_by_name_or_id(fifty: Taxonomy, name: str) -> None:
    assert fifty.index(name) == 0


def test_json_round_trip_and_checksum(fifty: Taxonomy) -> None:
    again = Taxonomy.from_json(fifty.to_json())
    assert again == fifty and again.checksum == fifty.checksum
    assert column_taxonomy(["a", "b"]).checksum != fifty.checksum
    with pytest.raises(DataError):
        Taxonomy.from_json('{"labels": 3}')


def test_column_taxonomy_is_sorted_and_exact() -> None:
    taxonomy = column_taxonomy(["b", " a", "b", "3", "Ａ"])
    assert taxonomy.names == ["3", "a", "b"]
    assert taxonomy.index("3") == 0
    assert taxonomy.index("1") is None  # a number is a name here, never an id
    with pytest.raises(DataError):
        column_taxonomy(["", "  "])


def test_own_taxonomy_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('# version: 7\nid,zh,en,icd10\n2,乙,B,"E00-E07, E78"\n1,甲,A,I00-I99\n', "utf-8")
    taxonomy = load_taxonomy(path)
    assert (taxonomy.name, taxonomy.version, taxonomy.names) == ("mine", "7", ["甲", "乙"])
    assert taxonomy.of_code("E78.0").index == 1
    assert taxonomy.of_code("K29").reason == "unmapped"


def test_own_taxonomy_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "three"\nversion = "2"\n'
        '[[labels]]\nid = 1\nzh = "甲"\nicd10 = ["A00-B99"]\n'
        '[[labels]]\nid = 2\nzh = "乙"\nen = "B"\nicd10 = "C00-C97; D00-D09"\n'
        '[[labels]]\nid = 3\nzh = "丙"\n',
        "utf-8",
    )
    taxonomy = load_taxonomy(str(path))
    assert (taxonomy.name, taxonomy.version, len(taxonomy)) == ("three", "2", 3)
    assert taxonomy.of_code("B20").index == 0 and taxonomy.of_code("D05").index == 1
    assert taxonomy.labels[2].en == "丙"


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(
        'id,zh,en,icd10\n1,甲,A,I00-I99\n1,乙,B,"I50, J00"\nx,丙,C,\n4,甲,D,K99-K00\n5,,E,L1\n', "utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        load_taxonomy(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for said in (
        "same id twice",
        "overlap",
        "I50",
        "not a number",
        "same name twice",
        "K99-K00",
        "without a Chinese name",
    ):
        assert said in message
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "name,code\nx,I10\n"),
        ("a.csv", "id,zh\n"),
        ("a.csv", "id,zh\n1,只有一个\n"),
        ("a.toml", "labels = 3\n"),
        ("a.toml", "not toml"),
    ],
)
def test_files_that_are_no_taxonomy(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(SettingsError):
        load_taxonomy(tmp_path / name)


@pytest.mark.parametrize("spec", ["outpatient-5", "column", "/nowhere/x.csv"])
def test_unknown_taxonomy(spec: str) -> None:
    with pytest.raises(SettingsError, match=r"labels\.taxonomy"):
        load_taxonomy(spec)


def test_labels_column_wins(fifty: Taxonomy) -> None:
    record = Record(labels=("糖尿病", "Asthma", "J06.9", "无此类"), diagnosis_codes=("I10",))
    assert map_labels(record, fifty) == ((1, 11, 15), ("unmapped",))


def test_codes_where_there_are_no_labels(fifty: Taxonomy) -> None:
    record = Record(
        diagnosis_codes=("K64.9", "Ｉ１０", "I10.x00x002", "M80000/3", "110.x00", "V01", "A01.03.01")
    )
    indices, reasons = map_labels(record, fifty)
    assert [fifty.names[index] for index in indices] == ["高血压", "痔与肛周疾病"]
    assert reasons == ("morphology", "typing-error", "unmapped", "tcm")


def test_asterisk_halves_give_no_label_of_their_own(fifty: Taxonomy) -> None:
    diabetes = fifty.index("糖尿病")
    assert map_labels(Record(diagnosis_codes=("E11.2+", "N08.3*")), fifty) == ((diabetes,), ("asterisk",))
    assert map_labels(Record(diagnosis_codes=("E11.2†N08.3*",)), fifty) == ((diabetes,), ("asterisk",))
    kidney = fifty.index("肾病与慢性肾衰")
    assert map_labels(Record(diagnosis_codes=("N08.3*",)), fifty) == ((kidney,), ())


def test_nothing_to_map(fifty: Taxonomy) -> None:
    assert map_labels(Record(), fifty) == ((), ())


def test_the_built_in_set_is_the_one_of_its_version(fifty: Taxonomy) -> None:
    """Another content is another label set: then raise `# version` and write the new checksum here."""
    assert (fifty.version, fifty.checksum) == (
        "1",
        "bc72b07057c38ec370bd52e07053a88e8c5a9d2da904528e4359da2e15800013",
    )


def test_the_checksum_covers_the_chapters(fifty: Taxonomy) -> None:
    moved = replace(fifty, labels=(replace(fifty.labels[0], chapter="X"), *fifty.labels[1:]))
    assert moved.checksum != fifty.checksum


def test_chapters_of_an_own_label_set(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        'id,zh,en,icd10,chapter\n1,痔,,"I84,K60-K62",ix\n2,肝病,,"K70-K77,B15-B19",\n3,无编码,,,V\n4,其他,,,\n',
        "utf-8",
    )
    assert load_taxonomy(path).chapters == ["IX", "XI", "V", ""]
    toml = tmp_path / "own.toml"
    toml.write_text(
        '[[labels]]\nid = 1\nzh = "甲"\nicd10 = ["I84", "K60"]\nchapter = "XI"\n[[labels]]\nid = 2\nzh = "乙"\n',
        "utf-8",
    )
    assert load_taxonomy(toml).chapters == ["XI", ""]


def test_a_chapter_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,zh,en,icd10,chapter\n1,甲,,I10-I15,X\n2,乙,,J00,XXX\n", "utf-8")
    with pytest.raises(SettingsError) as caught:
        load_taxonomy(path)
    assert len(caught.value.problems) == 2
    assert "holds none of the label's codes" in str(caught.value) and "no chapter of ICD-10" in str(
        caught.value
    )
