from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections import Counter, defaultdict
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from emr_fl_deploy.corpus import CorpusSummary, folder, synthesise
from emr_fl_deploy.corpus.hospitals import cross_site_style, training_styles
from emr_fl_deploy.corpus.knowledge import load_knowledge
from emr_fl_shared.deidentify.spans import KINDS
from emr_fl_shared.errors import StorageError, UsageError
from emr_fl_shared.labels import load_taxonomy, map_labels
from emr_fl_shared.records import note_text
from emr_fl_shared.sources import read_records

ENCODINGS = {"hospital-a": "utf-8-sig", "hospital-b": "gb18030", "hospital-c": "utf-8", "hospital-d": "utf-8"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CorpusSummary]:
    root = tmp_path_factory.mktemp("corpus") / "sample"
    return root, synthesise(root, records=1500, seed=7)


def _digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _rows(root: Path, file: str) -> list[dict[str, str]]:
    encoding = ENCODINGS.get(Path(file).stem, "utf-8-sig")
    with (root / file).open(encoding=encoding, newline="") as stream:
        return list(csv.DictReader(stream))


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.csv"))


def test_folder_holds_what_simulate_reads(made: tuple[Path, CorpusSummary]) -> None:
    root, summary = made
    settings = tomllib.loads((root / "federation.toml").read_text("utf-8"))
    assert settings["labels"]["taxonomy"] == "outpatient-50"
    assert "model" not in settings and "rounds" not in settings["federation"]
    assert set(settings["evaluation"]["sets"]) == {"validation", "standard", "cross_site"}
    assert set(settings["sites"]) == set(ENCODINGS)
    for name, site in settings["sites"].items():
        records, report = read_records(root / site["source"], site.get("columns"))
        assert len(records) == summary.rows[site["source"]] == report.rows
        assert report.encoding == ENCODINGS[name]
        assert {"chief_complaint", "present_illness", "past_history", "diagnosis_codes"} <= set(
            report.columns
        )
        assert not report.ignored_columns
    assert sum(summary.rows[f"sites/{name}.csv"] for name in ENCODINGS) == 1500


def test_columns_are_mapped_only_where_the_header_is_strange(made: tuple[Path, CorpusSummary]) -> None:
    settings = tomllib.loads((made[0] / "federation.toml").read_text("utf-8"))
    mapped = {name: site["columns"] for name, site in settings["sites"].items() if "columns" in site}
    assert mapped == {
        "hospital-c": {"chief_complaint": "主要不适"},
        "hospital-d": {"chief_complaint": "ZS", "present_illness": "XBS", "past_history": "JWS"},
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        synthesise(tmp_path / name, records=300, seed=3)
    synthesise(tmp_path / "other", records=300, seed=4)
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
    assert _digest(tmp_path / "one") != _digest(tmp_path / "other")


def test_every_label_occurs_in_training_and_standard(made: tuple[Path, CorpusSummary]) -> None:
    root, _ = made
    taxonomy = load_taxonomy("outpatient-50")
    seen: dict[str, set[int]] = defaultdict(set)
    settings = tomllib.loads((root / "federation.toml").read_text("utf-8"))
    for file in _files(root):
        site = settings["sites"].get(Path(file).stem, {})
        for record in read_records(root / file, site.get("columns"))[0]:
            labels, unmapped = map_labels(record, taxonomy)
            assert labels and set(unmapped) <= {"asterisk"}
            seen[file.split("/")[0] if "sites" in file else file].update(labels)
    assert seen["sites"] == seen["server/standard.csv"] == set(range(50))


def test_no_patient_is_in_two_files(made: tuple[Path, CorpusSummary]) -> None:
    root, _ = made
    owners: dict[str, set[str]] = defaultdict(set)
    settings = tomllib.loads((root / "federation.toml").read_text("utf-8"))
    visits = 0
    ids = set()
    for file in _files(root):
        site = settings["sites"].get(Path(file).stem, {})
        for record in read_records(root / file, site.get("columns"))[0]:
            owners[record.patient_id].add(file)
            ids.add(record.record_id)
            visits += 1
    assert all(len(files) == 1 for files in owners.values())
    assert 1.9 < visits / len(owners) < 2.5
    assert len(ids) == visits


def test_truth_points_at_what_was_planted(made: tuple[Path, CorpusSummary]) -> None:
    root, summary = made
    tables = {file: _rows(root, file) for file in _files(root)}
    by_cell: dict[tuple[str, int, str], list[tuple[int, int]]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    own_names = 0
    columns = json.loads((root / "truth" / "columns.json").read_text("utf-8"))
    for line in (root / "truth" / "identifiers.jsonl").read_text("utf-8").splitlines():
        item = json.loads(line)
        row = tables[item["file"]][item["row"]]
        value = row[item["column"]][item["start"] : item["end"]]
        assert len(value) == item["end"] - item["start"] >= 2
        kinds[item["kind"]] += 1
        by_cell[item["file"], item["row"], item["column"]].append((item["start"], item["end"]))
        if item["kind"] == "EMAIL":
            assert "@example" in value or "@mail.example" in value
        if item["kind"] == "PATIENT_NAME":
            header = next(h for h, kind in columns[item["file"]].items() if kind == "patient_name")
            assert row[header] in (value, "")
            own_names += row[header] == value
    assert own_names > 10
    assert set(kinds) == set(KINDS) - {"DEPARTMENT"}
    assert dict(kinds) == dict(summary.planted)
    for spans in by_cell.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
    notes = sum(len(rows) for rows in tables.values())
    touched = len({cell[:2] for cell in by_cell})
    assert 0.14 < touched / notes < 0.22


def test_no_identifiers_in_text_if_none_are_wanted(tmp_path: Path) -> None:
    summary = synthesise(tmp_path / "clean", records=300, identifiers=0.0)
    assert summary.planted == {}
    assert (tmp_path / "clean" / "truth" / "identifiers.jsonl").read_text("utf-8") == ""


def test_shape_of_the_corpus(made: tuple[Path, CorpusSummary]) -> None:
    _, summary = made
    assert 1.4 <= summary.labels_per_record <= 1.65
    assert 0.55 <= summary.head_ten_share <= 0.72
    assert 0.11 <= summary.copied_share <= 0.19
    assert 0.03 <= summary.noise_share <= 0.07
    assert 0.5 <= summary.negated_share <= 0.65


def test_missing_fields(made: tuple[Path, CorpusSummary]) -> None:
    root, _ = made
    records = [record for file in ("hospital-a", "hospital-d") for record in _read(root, file)]
    for name in ("chief_complaint", "present_illness", "past_history", "sex", "age", "department"):
        share = sum(not getattr(record, name) for record in records) / len(records)
        assert 0.05 < share < 0.2, name
    assert all(note_text(record) for record in records)


def _read(root: Path, site: str) -> list:  # type: ignore[type-arg]
    settings = tomllib.loads((root / "federation.toml").read_text("utf-8"))
    return read_records(root / f"sites/{site}.csv", settings["sites"][site].get("columns"))[0]


def test_respiratory_infections_double_in_winter(tmp_path: Path) -> None:
    synthesise(tmp_path / "one", sites=1, records=4000, identifiers=0.0)
    taxonomy = load_taxonomy("outpatient-50")
    months: Counter[bool] = Counter()
    for record in _read(tmp_path / "one", "hospital-a"):
        if len(record.visit_date) == 10 and {11, 12} & set(map_labels(record, taxonomy)[0]):
            months[int(record.visit_date[5:7]) in (11, 12, 1, 2)] += 1
    assert 1.5 < (months[True] / 4) / (months[False] / 8) < 2.5


def test_no_visit_is_later_than_2025() -> None:
    from emr_fl_deploy.corpus.difficulty import Difficulty
    from emr_fl_deploy.corpus.population import FIRST_DAY, LAST_DAY
    from emr_fl_deploy.corpus.synthesis import _plan_files, plan_sizes

    files = _plan_files(plan_sizes(records=20_000), load_knowledge(), Difficulty(), 0)
    visits = [visit for file in files.values() for visit, _ in file.visits]
    assert max(visit.day for visit in visits) <= LAST_DAY
    moved = [visit for visit in visits if visit.day < FIRST_DAY]
    assert moved, "some went on for too long and were moved back"
    by_patient: dict[int, list[date]] = defaultdict(list)
    for visit in visits:
        assert abs(visit.patient.age(visit.day) - visit.age) <= (visit.day.day in (28, 29))
        by_patient[visit.patient.number].append(visit.day)
    assert all(days == sorted(days) for days in by_patient.values()), "visits stay in order"


@pytest.mark.parametrize(
    ("days", "born", "moved", "born_then"),
    [
        (
            [date(2024, 2, 29), date(2026, 1, 5)],
            date(1990, 3, 1),
            [date(2023, 2, 28), date(2025, 1, 5)],
            date(1989, 3, 1),
        ),
        ([date(2025, 12, 31)], date(2000, 2, 29), [date(2025, 12, 31)], date(2000, 2, 29)),
    ],
    ids=["too late", "the last day"],
)
def test_a_late_patient_is_moved_back_by_years(
    days: list[date], born: date, moved: list[date], born_then: date
) -> None:
    from emr_fl_deploy.corpus.population import Patient, Visit, _end_in_time

    patient = Patient(1, "male", born)
    visits = [Visit(patient, day, patient.age(day), (), 0) for day in days]
    _end_in_time(visits)
    assert [visit.day for visit in visits] == moved
    assert patient.born == born_then


def test_wordings_of_each_hospital() -> None:
    knowledge = load_knowledge()
    known = {
        form
        for finding in knowledge.findings.values()
        for form in (finding.term, *finding.synonyms, *finding.colloquial, *finding.abbreviations)
    }
    from emr_fl_deploy.corpus.difficulty import Difficulty
    from emr_fl_deploy.corpus.synthesis import _plan_files, plan_sizes

    files = _plan_files(plan_sizes(records=300), knowledge, Difficulty(), 0)
    hospitals = {hospital.name: hospital for file in files.values() for _, hospital in file.visits}
    assert set(hospitals) == {*ENCODINGS, "cross-site"}
    for hospital in hospitals.values():
        assert {form for forms, _ in hospital.wordings.values() for form in forms} <= known
    strange = hospitals.pop("cross-site")
    for term, (forms, _) in strange.wordings.items():
        favourites = {hospital.wordings[term][0][0] for hospital in hospitals.values()}
        assert forms[0] not in favourites or set(forms) <= favourites


def test_the_cross_site_hospital_writes_unlike_the_others() -> None:
    import random

    strange = cross_site_style()
    for style in training_styles(26, random.Random(0)):
        for part in ("chief", "onset", "negatives", "signs", "tests", "treatment", "order"):
            assert style[part] != strange[part]


@pytest.mark.parametrize("sites", [1, 26])
def test_fewest_and_most_sites(tmp_path: Path, sites: int) -> None:
    summary = synthesise(tmp_path / "out", sites=sites, records=400, cross_site=0, validation=0)
    settings = tomllib.loads((tmp_path / "out" / "federation.toml").read_text("utf-8"))
    assert len(settings["sites"]) == sites
    assert set(settings["evaluation"]["sets"]) == {"standard"}
    assert min(summary.rows.values()) > 0


@pytest.mark.parametrize(
    ("arguments", "where"),
    [({"sites": 27}, "--sites"), ({"records": 10}, "--records"), ({"seed": -1}, "--seed")],
    ids=str,
)
def test_bad_arguments_write_nothing(tmp_path: Path, arguments: dict[str, int], where: str) -> None:
    with pytest.raises(UsageError) as caught:
        synthesise(tmp_path / "out", **arguments)
    assert caught.value.where == where
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_bad_share_of_identifiers(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError):
        synthesise(tmp_path / "out", identifiers=share)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UsageError, match=r"not empty|不是空的"):
        synthesise(tmp_path, records=200)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("x", encoding="utf-8")
    with pytest.raises(UsageError):
        synthesise(target, records=200)
    assert target.read_text("utf-8") == "x"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    synthesise(tmp_path / "out", records=200)
    assert (tmp_path / "out" / "federation.toml").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    written = []
    original = folder.write_csv

    def full_after_two(path: Path, *rest: object) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("emr_fl_deploy.corpus.synthesis.write_csv", full_after_two)
    with pytest.raises(StorageError, match="No space left"):
        synthesise(tmp_path / "out", records=200)
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emr_fl_deploy.corpus.synthesis.write_truth", interrupt)
    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "new" / "deep" / "out", records=200)
    assert list(tmp_path.iterdir()) == []
