"""Make a sample federation: plan, people, pictures, notes, codes, files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from zlib import crc32

import numpy as np

from emr_fl_deploy.corpus.coding import coded_diseases, diagnosis_cells
from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.folder import check_target, federation_toml, new_folder, write_csv, write_truth
from emr_fl_deploy.corpus.hospitals import (
    Hospital,
    Layout,
    cross_site_style,
    found_hospital,
    server_layout,
    training_styles,
)
from emr_fl_deploy.corpus.identities import Identity, Issued, hospital_name, identity, invent, person_name
from emr_fl_deploy.corpus.keystrokes import mistype
from emr_fl_deploy.corpus.knowledge import Knowledge, load_knowledge
from emr_fl_deploy.corpus.notes import Note, copy_forward, write_note
from emr_fl_deploy.corpus.picture import draw_picture
from emr_fl_deploy.corpus.planting import Kinds, Planted, plant
from emr_fl_deploy.corpus.population import (
    Comorbidity,
    Visit,
    admit,
    quotas,
    site_quotas,
    skewed_quotas,
    zipf_prior,
)
from emr_fl_deploy.corpus.sizes import Sizes, plan_sizes
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr

IDENTIFIER_COLUMNS = (
    *(
        "patient_name",
        "relative_name",
        "id_card",
        "phone",
        "address",
        "insurance_number",
        "doctor",
        "hospital",
    ),
    *("bed", "visit_number", "record_number", "employer"),
)
_MAY_BE_MISSING = (
    "visit_date",
    "department",
    "sex",
    "age",
    "past_history",
    "diagnosis_text",
    *IDENTIFIER_COLUMNS,
)
_DOCTORS = 40


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """What was written. `label_share` is over all diagnoses of the training sites as coded, most frequent first."""

    out: Path
    rows: Mapping[str, int]
    labels_per_record: float
    head_ten_share: float
    label_share: Mapping[int, float]
    copied_share: float
    noise_share: float
    negated_share: float
    planted: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _File:
    """One file while it is made."""

    layout: Layout
    visits: list[tuple[Visit, Hospital]]
    rows: list[dict[str, str]] = field(default_factory=list, repr=False)
    planted: list[tuple[int, Planted]] = field(default_factory=list, repr=False)
    wrong: list[int] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)
    stated: int = 0
    denied: int = 0


def synthesise(
    out: Path,
    *,
    sites: int = 4,
    records: int = 6000,
    standard: int | None = None,
    validation: int | None = None,
    cross_site: int | None = None,
    identifiers: float = 0.2,
    seed: int = 0,
    difficulty: Difficulty | None = None,
    knowledge: Knowledge | None = None,
) -> CorpusSummary:
    """Write a sample federation that `emr-fl simulate --data OUT` reads.

    `records` training records over all `sites`; sizes of the server's sets follow unless given (`plan_sizes`).
    `identifiers` is the share of notes with identifiers inside their free text. The same arguments write the same
    bytes. Raises `UsageError` for arguments out of range and for an `out` that is not empty, `StorageError` if the
    folder can't be written; in both cases nothing is left behind.
    """
    sizes = plan_sizes(sites, records, standard, validation, cross_site)
    if not 0.0 <= identifiers <= 1.0:
        raise UsageError(
            tr("a share out of range", "比例超出范围"),
            where="identifiers",
            got=str(identifiers),
            expected="0 … 1",
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(
            tr("not a seed", "不是有效的随机种子"),
            where="--seed",
            got=str(seed),
            expected=tr("0, 1, 2 …", "0、1、2……"),
        )
    out = Path(out)
    check_target(out)
    difficulty = difficulty or Difficulty()
    knowledge = knowledge or load_knowledge()
    with new_folder(out) as folder:
        files = _plan_files(sizes, knowledge, difficulty, seed)
        issued = Issued()
        for number, (name, file) in enumerate(files.items(), start=10):
            _fill_file(name, number, file, knowledge, difficulty, identifiers, issued, seed)
            write_csv(folder / name, file.layout, file.rows)
        write_truth(
            folder,
            {name: file.planted for name, file in files.items()},
            {name: file.layout for name, file in files.items()},
            {name: file.wrong for name, file in files.items()},
            IDENTIFIER_COLUMNS,
        )
        text = federation_toml(sizes, {name: file.layout for name, file in files.items()}, seed)
        (folder / "federation.toml").write_text(text, encoding="utf-8")
    return _summary(out, files)


def _rng(seed: int, *scope: object) -> random.Random:
    return random.Random("/".join(map(str, (seed, *scope))))  # seeded by a digest of the text, not by hash()


def _generator(seed: int, scope: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(scope.encode())])


def _plan_files(sizes: Sizes, knowledge: Knowledge, difficulty: Difficulty, seed: int) -> dict[str, _File]:
    """Hospitals, first diagnoses and patients of every file; no patient is in two files."""
    prior = zipf_prior(knowledge.labels, difficulty.zipf)
    comorbidity = Comorbidity(knowledge, prior, difficulty.comorbidity)
    styles = training_styles(len(sizes.sites), _rng(seed, "styles"))
    hospitals = [
        found_hospital(name, style, knowledge, difficulty, _generator(seed, name), _rng(seed, name, "words"))
        for name, style in zip(sizes.sites, styles, strict=True)
    ]
    departments = {label: group[0].departments[0] for label, group in knowledge.by_label.items()}
    mixes = site_quotas(
        prior, departments, list(sizes.sites.values()), _generator(seed, "mix"), difficulty.mix
    )
    files: dict[str, _File] = {}
    number = 0

    def people(
        scope: str, counts: Sequence[tuple[Mapping[int, int], Hospital]]
    ) -> list[tuple[Visit, Hospital]]:
        nonlocal number
        found: list[tuple[Visit, Hospital]] = []
        for place, (count, hospital) in enumerate(counts):
            rng = _rng(seed, scope, hospital.name, "people")
            visits = admit(count, place, number, knowledge, comorbidity, difficulty, rng)
            number = max(visit.patient.number for visit in visits) + 1 if visits else number
            found += [(visit, hospital) for visit in visits]
        return found

    for hospital, mix in zip(hospitals, mixes, strict=True):
        name = f"sites/{hospital.name}.csv"
        files[name] = _File(hospital.layout, people(name, [(mix, hospital)]))
    for set_name, size in (("standard", sizes.standard), ("validation", sizes.validation)):
        if size:
            name = f"server/{set_name}.csv"
            dealt = _deal(quotas(prior, size), len(hospitals), _rng(seed, name, "deal"))
            files[name] = _File(server_layout(), people(name, list(zip(dealt, hospitals, strict=True))))
    if sizes.cross_site:
        name = "server/cross_site.csv"
        stranger = found_hospital(
            "cross-site",
            cross_site_style(),
            knowledge,
            difficulty,
            _generator(seed, "cross-site"),
            _rng(seed, "cross-site", "words"),
            unlike=hospitals,
        )
        mix = skewed_quotas(prior, sizes.cross_site, _generator(seed, "cross-site-mix"), difficulty)
        files[name] = _File(server_layout(), people(name, [(mix, stranger)]))
    return files


def _deal(counts: Counter[int], hands: int, rng: random.Random) -> list[Counter[int]]:
    """The first diagnoses of a set dealt evenly to the hospitals: the set comes from all regions alike."""
    deck = sorted(counts.elements())
    rng.shuffle(deck)
    return [Counter(deck[hand::hands]) for hand in range(hands)]


def _fill_file(
    name: str,
    number: int,
    file: _File,
    knowledge: Knowledge,
    difficulty: Difficulty,
    identifiers: float,
    issued: Issued,
    seed: int,
) -> None:
    """Write the rows of a file, in the order of the visits' days. Record ids begin with the file's `number`."""
    rng = _rng(seed, name, "notes")
    kinds = Kinds(_rng(seed, name, "kinds"))
    clinics = {
        hospital.name: _clinic(hospital.name, seed)
        for hospital in {id(h): h for _, h in file.visits}.values()
    }
    notes: dict[int, Note] = {}
    people: dict[int, Identity] = {}
    made: list[tuple[date, dict[str, str], list[Planted], bool]] = []
    for visit, hospital in file.visits:
        patient = visit.patient
        if patient.number not in people:
            notes.clear()  # visits of a patient follow one another: only this patient's notes can be copied
            people = {patient.number: identity(patient.number, patient.sex, patient.born, rng, issued)}
        person = people[patient.number]
        picture = draw_picture(visit, hospital, knowledge, difficulty, rng)
        before = notes.get(id(visit.copied_from)) if visit.copied_from is not None else None
        rate = difficulty.typing_errors
        if before is not None:
            note = copy_forward(before, picture, hospital, rng)
            note.chief = mistype(note.chief, rate, rng)
        else:
            note = write_note(picture, hospital, difficulty, rng)
            note = replace(
                note,
                chief=mistype(note.chief, rate, rng),
                present=mistype(note.present, rate, rng),
                past=mistype(note.past, rate, rng),
            )
            notes[id(visit)] = note
        file.stated += note.stated
        file.denied += note.denied
        note = _with_gaps(note, difficulty.missing, rng)
        planted: list[Planted] = []
        if rng.random() < identifiers:
            note, planted = plant(
                note,
                rng.choices((1, 2, 3), weights=(5, 3, 2))[0],
                kinds,
                lambda kind: invent(kind, person, patient.sex, visit.day, visit.age, rng),  # noqa: B023 - called at once
                rng,
            )
        entered, wrong = coded_diseases(
            visit.diseases, hospital.style["habit"], difficulty.label_noise, knowledge, rng
        )
        file.labels.update({disease.label for disease in entered})
        form = hospital.layout.codes
        codes, names = diagnosis_cells(entered, form, file.layout.code_separator, rng)
        row = _row(visit, note, person, clinics[hospital.name], file.layout, rng)
        row |= {"diagnosis_codes": codes, "diagnosis_text": names}
        for column in _MAY_BE_MISSING:
            if column not in ("past_history",) and rng.random() < difficulty.missing:
                row[column] = ""
        made.append((visit.day, row, planted, wrong))
    order = sorted(range(len(made)), key=lambda index: (made[index][0], index))
    for place, index in enumerate(order):
        _, row, planted, wrong = made[index]
        row["record_id"] = f"{number:02d}{place:08d}"
        file.rows.append(row)
        file.planted += [(place, item) for item in planted]
        if wrong:
            file.wrong.append(place)


def _with_gaps(note: Note, rate: float, rng: random.Random) -> Note:
    """Fields left empty; one of chief complaint and present illness always stays."""
    chief, present, past = (rng.random() < rate for _ in range(3))
    if chief and present:
        chief, present = (True, False) if rng.random() < 0.5 else (False, True)
    return Note("" if chief else note.chief, "" if present else note.present, "" if past else note.past)


def _clinic(name: str, seed: int) -> tuple[str, tuple[str, ...]]:
    """The hospital's own name and its doctors."""
    rng = _rng(seed, name, "clinic")
    return hospital_name(rng), tuple(
        person_name(rng.choice(("male", "female")), rng) for _ in range(_DOCTORS)
    )


def _row(
    visit: Visit,
    note: Note,
    person: Identity,
    clinic: tuple[str, tuple[str, ...]],
    layout: Layout,
    rng: random.Random,
) -> dict[str, str]:
    patient = visit.patient
    department = rng.choice(visit.diseases[0].departments)
    return {
        **person.values,
        "patient_id": f"P{patient.number:08d}",
        "visit_date": visit.day.strftime(layout.dates),
        "department": department + ("门诊" if rng.random() < 0.15 else ""),
        "sex": layout.sexes[0 if patient.sex == "male" else 1],
        "age": layout.ages.format(visit.age),
        "doctor": rng.choice(clinic[1]),
        "hospital": clinic[0],
        "bed": f"{rng.randint(1, 60)}床",
        "visit_number": f"MZ{visit.day:%y%m%d}{rng.randrange(10000):04d}",
        "chief_complaint": note.chief,
        "present_illness": note.present,
        "past_history": note.past,
    }


def _summary(out: Path, files: Mapping[str, _File]) -> CorpusSummary:
    training = [file for name, file in files.items() if name.startswith("sites/")]
    labels: Counter[int] = sum((file.labels for file in training), Counter())
    total = sum(labels.values())
    ranked = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    rows = {name: len(file.rows) for name, file in files.items()}
    visits = sum(rows.values())
    return CorpusSummary(
        out=out,
        rows=rows,
        labels_per_record=total / max(1, sum(len(file.rows) for file in training)),
        head_ten_share=sum(count for _, count in ranked[:10]) / max(1, total),
        label_share={label: count / total for label, count in ranked},
        copied_share=sum(v.copied_from is not None for f in files.values() for v, _ in f.visits)
        / max(1, visits),
        noise_share=sum(len(file.wrong) for file in files.values()) / max(1, visits),
        negated_share=sum(f.denied for f in files.values())
        / max(1, sum(f.denied + f.stated for f in files.values())),
        planted=dict(sorted(Counter(item.kind for f in files.values() for _, item in f.planted).items())),
    )
