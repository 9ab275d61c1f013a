"""Does the sample federation meet its targets? Prints a table of figures with their spread over seeds.

    python tests/benchmarks/corpus_targets.py [--seeds 0 1 2] [--records 6000]

The classifier is TF-IDF over character 1-4-grams with one balanced logistic regression per label, its threshold tuned
on the validation set: what a corpus without meaning would let win with 1.000.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np

from emr_fl_deploy.corpus import synthesise
from emr_fl_deploy.corpus.knowledge import load_knowledge
from emr_fl_shared.labels import load_taxonomy, map_labels
from emr_fl_shared.records import Record, note_text
from emr_fl_shared.sources import read_records

SYMPTOM_LIKE = (32, 48, 50)  # labels whose diseases are named like complaints or occasions of a visit
TARGETS = {
    "head-ten share of labels": (0.60, 0.70),
    "labels per record": (1.4, 1.6),
    "TF-IDF micro-F1, standard": (0.55, 0.75),
    "TF-IDF macro-F1, standard": (0.0, 1.0),
    "TF-IDF micro-F1, cross-site": (0.0, 1.0),
    "drop of micro-F1 at the cross-site": (0.05, 1.0),
    "TF-IDF micro-F1, mean of sites alone": (0.0, 1.0),
    "diagnosis named": (0.0, 0.15),
    "negated share of symptoms and signs": (0.50, 0.65),
    "labels in training": (50, 50),
    "labels in standard": (50, 50),
    "median characters": (80, 110),
    "notes over 126 characters": (0.0, 0.05),
    "copied forward": (0.13, 0.17),
    "wrong codes": (0.04, 0.06),
    "visits per patient": (2.0, 2.4),
    "seconds to make": (0.0, 10.0),
}


class Table:
    """Texts and targets of one or several files, planted identifiers cut to a placeholder."""

    def __init__(self, root: Path, files: dict[str, dict[str, str] | None]) -> None:
        taxonomy = load_taxonomy("outpatient-50")
        spans = _spans(root)
        texts, targets, self.patients = [], [], []
        for file, columns in files.items():
            records, report = read_records(root / file, columns)
            for row, record in enumerate(records):
                record = _masked(
                    record, spans.get((file, row), []), {v: k for k, v in report.columns.items()}
                )
                texts.append(note_text(record))
                labels = np.zeros(len(taxonomy.names), dtype=bool)
                labels[list(map_labels(record, taxonomy)[0])] = True
                targets.append(labels)
                self.patients.append(record.patient_id)
        self.texts: list[str] = texts
        self.y = np.array(targets)


def _spans(root: Path) -> dict[tuple[str, int], list[dict[str, object]]]:
    found = defaultdict(list)
    for line in (root / "truth" / "identifiers.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        found[entry["file"], entry["row"]].append(entry)
    return found


def _masked(record: Record, spans: list[dict[str, object]], fields: dict[str, str]) -> Record:
    import dataclasses

    for span in sorted(spans, key=lambda item: -int(item["start"])):
        name = fields[str(span["column"])]
        text = getattr(record, name)
        record = dataclasses.replace(record, **{name: text[: span["start"]] + "■" + text[span["end"] :]})
    return record


def tfidf_scores(train: Table, validation: Table, tests: dict[str, Table]) -> dict[str, tuple[float, float]]:
    """Set → (micro-F1, macro-F1 over the labels that occur)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    vectoriser = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True, dtype=np.float32
    )
    x = vectoriser.fit_transform(train.texts)
    sets = {"validation": validation, **tests}
    inputs = {name: vectoriser.transform(table.texts) for name, table in sets.items()}
    scores = {name: np.full(table.y.shape, -9.0) for name, table in sets.items()}
    for label in range(train.y.shape[1]):
        if not 0 < train.y[:, label].sum() < len(train.y):
            continue
        model = LogisticRegression(C=2.0, class_weight="balanced", solver="liblinear", random_state=0)
        model.fit(x, train.y[:, label])
        for name, matrix in inputs.items():
            scores[name][:, label] = model.decision_function(matrix)
    grid = np.linspace(-2, 3, 101)
    cut = max(
        grid, key=lambda t: f1_score(validation.y, scores["validation"] > t, average="micro", zero_division=0)
    )
    found = {}
    for name, table in tests.items():
        guess, seen = scores[name] > cut, table.y.any(0)
        per_label = f1_score(table.y, guess, average=None, zero_division=0)
        found[name] = (
            float(f1_score(table.y, guess, average="micro", zero_division=0)),
            float(per_label[seen].mean()),
        )
    return found


def diagnosis_named(table: Table) -> float:
    """Share of texts that hold a name of one of their own diagnoses."""
    knowledge = load_knowledge()
    wordings = {
        form
        for finding in knowledge.findings.values()
        for form in (finding.term, *finding.synonyms, *finding.colloquial, *finding.abbreviations)
    }
    names = {
        label: [n for disease in group for n in disease.names if n not in wordings and len(n) > 1]
        for label, group in knowledge.by_label.items()
        if label not in SYMPTOM_LIKE
    }
    hits = 0
    for text, row in zip(table.texts, table.y, strict=True):
        hits += any(name in text for label in np.flatnonzero(row) + 1 for name in names.get(int(label), ()))
    return hits / len(table.texts)


def measure(root: Path, records: int, seed: int, *, local: bool) -> dict[str, float]:
    """All figures of one seed."""
    start = time.perf_counter()
    summary = synthesise(root, records=records, seed=seed)
    seconds = time.perf_counter() - start
    settings = tomllib.loads((root / "federation.toml").read_text("utf-8"))
    sites = {site["source"]: site.get("columns") for site in settings["sites"].values()}
    train = Table(root, sites)
    sets = {name: Table(root, {path: None}) for name, path in settings["evaluation"]["sets"].items()}
    tests = {name: sets[name] for name in ("standard", "cross_site")}
    scores = tfidf_scores(train, sets["validation"], tests)
    counts = np.sort(train.y.sum(0))[::-1]
    lengths = np.array([len(text) for table in (train, *sets.values()) for text in table.texts])
    figures = {
        "head-ten share of labels": counts[:10].sum() / counts.sum(),
        "labels per record": train.y.sum(1).mean(),
        "TF-IDF micro-F1, standard": scores["standard"][0],
        "TF-IDF macro-F1, standard": scores["standard"][1],
        "TF-IDF micro-F1, cross-site": scores["cross_site"][0],
        "drop of micro-F1 at the cross-site": scores["standard"][0] - scores["cross_site"][0],
        "diagnosis named": diagnosis_named(train),
        "negated share of symptoms and signs": summary.negated_share,
        "labels in training": int(train.y.any(0).sum()),
        "labels in standard": int(sets["standard"].y.any(0).sum()),
        "median characters": float(np.median(lengths)),
        "notes over 126 characters": float((lengths > 126).mean()),
        "copied forward": summary.copied_share,
        "wrong codes": summary.noise_share,
        "visits per patient": len(train.patients) / len(set(train.patients)),
        "seconds to make": seconds,
    }
    if local:
        alone = [
            tfidf_scores(Table(root, {path: columns}), sets["validation"], {"standard": sets["standard"]})
            for path, columns in sites.items()
        ]
        figures["TF-IDF micro-F1, mean of sites alone"] = float(
            np.mean([score["standard"][0] for score in alone])
        )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--local", action="store_true", help="also TF-IDF of each site alone")
    arguments = parser.parse_args()
    runs = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(Path(folder) / "sample", arguments.records, seed, local=arguments.local))
    missed = 0
    print(f"{'figure':42} {'mean':>9} {'sd':>7}   target")
    for name, (low, high) in TARGETS.items():
        values = np.array([run[name] for run in runs if name in run])
        if not len(values):
            continue
        met = bool(((values >= low) & (values <= high)).all())
        missed += not met
        target = "" if (low, high) == (0.0, 1.0) else f"{low} – {high} {'met' if met else 'MISSED'}"
        print(
            f"{name:42} {values.mean():9.3f} {values.std(ddof=1) if len(values) > 1 else 0:7.3f}   {target}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
