"""What the input standardiser costs, and what it brings to TF-IDF on pooled text, which has no random weights and is quick to fit.

python tests/benchmarks/standardise.py                           20,000 notes of 200 characters, a second of one core
python tests/benchmarks/standardise.py --scores --seeds 0 1 2    macro-F1 with and without, 2,400 training records a seed
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
LENGTH = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--records", type=int, default=2400)
    given = parser.parse_args()
    print(scores(given.seeds, given.records) if given.scores else speed(given.notes, given.seed))


def speed(count: int, seed: int) -> str:
    """Notes a second of each step, as a table."""
    from emr_fl_shared.text.normalise import normalise
    from emr_fl_shared.text.standardise import standardise

    notes = long_notes(count, seed)
    standardise(notes[0])  # word lists are read once a process
    rows = []
    for name, step in (("normalise", normalise), ("standardise", standardise)):
        began = time.process_time()
        changed = sum(step(note) != note for note in notes)
        seconds = time.process_time() - began
        rows.append(f"| {name} | {len(notes) / seconds:,.0f} | {changed / len(notes):.3f} |")
    head = f"{len(notes)} different notes of {LENGTH} characters, seconds of the processor"
    return "\n".join([head, "| step | notes a second | share of notes changed |", "|---|---|---|", *rows])


def scores(seeds: Sequence[int], records: int) -> str:
    """Macro-F1 of pooled TF-IDF by set, without, with, and the difference paired by seed, as a table."""
    import numpy as np

    found: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds:
        off, on = scores_of_seed(seed, records)
        for name in off:
            found.setdefault(name, []).append((100 * off[name], 100 * on[name]))
    lines = ["| macro-F1 %, mean ± sd | without | with | with minus without |", "|---|---|---|---|"]
    for name, pairs in found.items():
        off_, on_ = np.array(pairs).T
        cells = (
            f"{values.mean():.1f} ± {values.std(ddof=1) if len(seeds) > 1 else 0:.1f}"
            for values in (off_, on_, on_ - off_)
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([f"seeds {list(seeds)}, {records} training records", *lines])


def scores_of_seed(seed: int, records: int) -> tuple[dict[str, float], ...]:
    import numpy as np

    from emr_fl_deploy.corpus import synthesise
    from emr_fl_server.evaluation.held_out import HeldOutSets
    from emr_fl_shared.config import load_settings
    from emr_fl_shared.labels import load_taxonomy
    from emr_fl_shared.metrics import score_set
    from emr_fl_shared.model.baselines import TfidfBaseline
    from emr_fl_shared.preparation import prepare

    taxonomy = load_taxonomy("outpatient-50")
    results: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        synthesise(data, records=records, seed=seed)
        read = load_settings(data / "federation.toml").with_paths_from(data)
        for standardised in (False, True):
            settings = read.model_copy(
                update={
                    "model": read.model.model_copy(update={"standardise": standardised}),
                    "evaluation": read.evaluation.model_copy(
                        update={"adversarial": read.evaluation.adversarial.model_copy(update={"texts": 0})}
                    ),
                }
            )
            validation, sets = HeldOutSets(settings).sets(taxonomy)
            sites = [
                prepare(
                    site.records_source(), site.columns, taxonomy, key=b"k" * 32, standardised=standardised
                )
                for site in settings.sites.values()
            ]
            model = TfidfBaseline()
            model.fit(
                [text for site in sites for text in site.texts],
                np.concatenate([site.labels for site in sites]),
                (validation.texts, validation.y),
            )
            results.append(
                {
                    name: score_set(held.y, model.probabilities(held.texts), model.decision)["macro_f1"]
                    for name, held in sets.items()
                }
            )
    return tuple(results)


def long_notes(count: int, seed: int) -> list[str]:
    """Different notes of `LENGTH` characters: notes of a sample federation, normalised, one after another, cut."""
    from emr_fl_deploy.corpus import synthesise
    from emr_fl_shared.records import note_text
    from emr_fl_shared.sources import read_records
    from emr_fl_shared.text.normalise import normalise

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        synthesise(out, sites=1, records=max(200, 3 * count), seed=seed, identifiers=0.0)
        records, _ = read_records(out / "sites" / "hospital-a.csv", None)
    texts = [normalise(note_text(record)) for record in records]
    whole = "\n".join(text for text in dict.fromkeys(texts) if text)
    cuts = range(0, len(whole) + 1, LENGTH)
    return [whole[start:end] for start, end in pairwise(cuts)][:count]


if __name__ == "__main__":
    main()
