"""`emr-fl predict` and `emr-fl evaluate`: a saved model on texts and on files."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import ColumnMapError, DataError, UsageError
from emr_fl_shared.messages import language, tr
from emr_fl_shared.text.entities import without_entities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emr_fl_server.evaluation.sets import HeldOutSet
    from emr_fl_shared.model.storage import SavedModel

SETS = ("standard", "noisy", "adversarial", "noise-curve")
COMPARED_SETS = ("standard", "noisy")
"""Texts that are the same whatever the model."""


def predict(
    model: Path,
    texts: Sequence[str],
    *,
    file: Path | None,
    as_json: bool,
    top: int,
    explain: bool = False,
    attention: bool = False,
) -> None:
    """Print labels and probabilities of each text, and the words that they rest on. Nothing of a text is stored.

    `explain`: integrated gradients of the labels given, of the most probable one where none is; `attention`: the roll-out.
    """
    numbered = _texts(texts, file)
    given = [without_entities(text) for _, text in numbered]

    import numpy as np

    from emr_fl_deploy.explaining import explanations, looked_at_words, most_looked_at, strongest
    from emr_fl_shared.deidentify import Deidentifier
    from emr_fl_shared.model.encoder import encode, predict_logits
    from emr_fl_shared.model.storage import load_model
    from emr_fl_shared.preparation import model_text

    saved = load_model(model)
    deidentifier = Deidentifier(key=secrets.token_bytes(32))
    # A model has only ever read de-identified text without the diagnosis that it is to find; it is given the same here.
    standardised = saved.encoder.standardise
    clean = [model_text(deidentifier.text(text, {})[0], standardised=standardised)[0] for text in given]
    token_ids = encode(saved.encoder.tokenizer, clean, saved.encoder.max_length)
    probabilities = saved.decision.probabilities(predict_logits(saved.encoder.model, token_ids))
    decided = saved.decision.decide(probabilities)
    labels = saved.labels.labels
    for row, (number, _) in enumerate(numbered):
        why: dict[int, Any] = {}
        looked_at: list[dict[str, Any]] | None = None
        order = [int(index) for index in np.argsort(-probabilities[row], kind="stable")]
        shown = [index for index in order if decided[row, index]]
        if explain:
            why = explanations(saved.encoder, clean[row], shown or order[:1])
        if attention:
            looked_at = looked_at_words(saved.encoder, clean[row])
        shown += [index for index in order if not decided[row, index]][: max(0, top - len(shown))]
        answer: list[dict[str, Any]] = [
            {
                "id": labels[index].id,
                "zh": labels[index].zh,
                "en": labels[index].en,
                "probability": round(float(probabilities[row, index]), 4),
                "given": bool(decided[row, index]),
                **({"explanation": why[index]} if index in why else {}),
            }
            for index in shown
        ]
        if as_json:
            line: dict[str, Any] = {"text": number, "labels": answer}
            if looked_at is not None:
                line["attention"] = looked_at
            print(json.dumps(line, ensure_ascii=False))
            continue
        print(
            f"[{number}]"
            + ("" if decided[row].any() else " " + tr("no label is sure enough", "没有足够确定的标签"))
        )
        for entry in answer:
            name = entry["zh"] if language() == "zh" else entry["en"] or entry["zh"]
            print(f"  {'*' if entry['given'] else ' '} {100 * entry['probability']:5.1f} %  {name}")
            if "explanation" in entry:
                print(f"{'':14}{tr('rests on', '依据')}: {strongest(entry['explanation']['words'])}")
        if looked_at is not None:
            print(f"{'':4}{tr('looked at', '注意力')}: {most_looked_at(looked_at)}")


def evaluate(
    model: Path,
    data: Path,
    *,
    sets: str,
    columns: Sequence[str],
    out: Path | None,
    seed: int,
    as_json: bool,
    against: Path | None = None,
) -> dict[str, Any]:
    """Score a saved model on a file, and `against` another one; prints tables (or JSON) and returns what the JSON holds."""
    wanted = [name.strip() for name in sets.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in SETS]
    if unknown or not wanted:
        raise UsageError(
            tr("unknown set", "未知的测试集"),
            where="--sets",
            got=", ".join(unknown) or sets,
            expected=", ".join(SETS),
        )
    if against is not None and not set(wanted) & set(COMPARED_SETS):
        raise UsageError(
            tr("two models are compared on the same texts", "比较两个模型需要相同的文本"),
            where="--sets",
            got=sets,
            expected=", ".join(COMPARED_SETS),
        )
    mapping = column_map(columns)
    if not data.is_file():
        raise DataError(
            tr("this is a folder, not a file", "这是文件夹，不是文件")
            if data.is_dir()
            else tr("no such file", "没有这个文件"),
            where="--data",
            got=str(data),
            expected=tr("CSV / TSV with texts and labels", "含文本与标签的 CSV / TSV"),
            do=tr("check the path; it is relative to the current folder", "请检查路径；它相对于当前目录"),
        )

    from emr_fl_server.evaluation.comparing import compare
    from emr_fl_server.evaluation.sets import HeldOutSet
    from emr_fl_shared.model.storage import load_model
    from emr_fl_shared.preparation import prepare
    from emr_fl_shared.text.noise import make_noisy

    saved = load_model(model)
    other = None if against is None else _same_labels(saved, load_model(against))
    try:
        prepared = prepare(data, mapping, saved.labels, key=secrets.token_bytes(32))
    except ColumnMapError as error:
        raise UsageError(
            error.message,
            where="--column " + error.where.rpartition("columns.")[2],
            got=error.got,
            expected=error.expected,
            do=tr("name a field and a header of the file: --column ", "请写出字段与文件中的列名：--column ")
            + "chief_complaint=ZS",
        ) from None
    standard = HeldOutSet("standard", prepared.texts, prepared.labels, prepared.patients)
    typed = {"standard": standard}
    if "noisy" in wanted:
        typed["noisy"] = replace(standard, name="noisy", texts=make_noisy(standard.texts, seed=seed))
    scores, decided = _score(saved, typed, wanted, seed)
    document: dict[str, Any] = {"schema": 1, "model": str(model), "data": str(data), "seed": seed, **scores}
    if other is not None:
        theirs, decided_by_other = _score(other, typed, wanted, seed)
        compared = {name: decided[name] for name in wanted if name in decided}
        document["against"] = {"model": str(against), **theirs}
        document["comparisons"] = compare(typed, compared, {str(against): decided_by_other}, seed=seed)
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if out is not None:
        write_durably(out, [text.encode()])
    print(text if as_json else _tables(document, prepared.dropped))
    return document


def _same_labels(saved: SavedModel, other: SavedModel) -> SavedModel:
    """The other model. Raises `UsageError` unless both predict the same labels in the same order."""
    if other.labels.names != saved.labels.names:
        raise UsageError(
            tr("the two models predict other labels", "两个模型的标签不一致"),
            where="--against",
            got=f"{other.labels.name}, {len(other.labels)}",
            expected=f"{saved.labels.name}, {len(saved.labels)}",
        )
    return other


def _score(
    saved: SavedModel, typed: Mapping[str, HeldOutSet], wanted: Sequence[str], seed: int
) -> tuple[dict[str, Any], dict[str, NDArray[np.bool_]]]:
    """{sets, noise_curve (if wanted)}, and the decisions by set. `typed`: the sets before any input standardiser."""
    import torch

    from emr_fl_server.evaluation.evaluator import Evaluator
    from emr_fl_server.evaluation.noise_curve import noise_curve
    from emr_fl_server.evaluation.scoring import score_sets
    from emr_fl_server.evaluation.sets import as_read
    from emr_fl_shared.config.settings import Attack, NoiseCurve
    from emr_fl_shared.model.precision import choose_precision

    held_out = {name: as_read(held, standardised=saved.encoder.standardise) for name, held in typed.items()}
    evaluator = Evaluator(
        saved.encoder,
        held_out["standard"],
        held_out,
        precision=choose_precision("auto", torch.device("cpu"), saved.encoder.parameters),
        chapters=saved.labels.chapters,
    )
    logits = {name: evaluator.logits(held) for name, held in held_out.items()}
    scores = score_sets(logits, held_out, saved.decision, chapters=saved.labels.chapters, interval_seed=seed)
    if "adversarial" in wanted:
        attacked = evaluator.attack(saved.decision, Attack(seed=seed))
        if attacked is not None:
            scores["adversarial"] = attacked
    found: dict[str, Any] = {"sets": {name: scores[name] for name in wanted if name in scores}}
    if "noise-curve" in wanted:
        found["noise_curve"] = noise_curve(
            evaluator.of_texts, typed["standard"], saved.decision, NoiseCurve(seed=seed)
        )
    decided = {
        name: saved.decision.decide(saved.decision.probabilities(values)) for name, values in logits.items()
    }
    return found, decided


def _texts(texts: Sequence[str], file: Path | None) -> list[tuple[int, str]]:
    """The texts with their numbers: of the argument, or of the line in the file, where blank lines count but give none."""
    if texts and file is not None:
        raise UsageError(tr("texts or a file, not both", "文本与文件只能给其一"), where="--file")
    if file is not None:
        try:
            raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            raise DataError(
                tr("the file can't be read", "文件无法读取"), where=str(file), got=error.strerror or ""
            ) from None
        try:
            content = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(
                tr("the file is not UTF-8 text", "文件不是 UTF-8 文本"), where=str(file)
            ) from None
        texts = content.split("\n")
    numbered = [(number, text) for number, text in enumerate(texts, 1) if file is None or text.strip()]
    if not any(text.strip() for text in texts):
        raise UsageError(
            tr("there is no text", "没有文本"),
            do=tr(
                "give texts as arguments or --file F (- for standard input)",
                "请以参数给出文本，或用 --file F（- 为标准输入）",
            ),
        )
    return numbered


def column_map(assignments: Sequence[str]) -> dict[str, str]:
    """`field=header` arguments as a column map. Raises `UsageError`."""
    mapping = {}
    for assignment in assignments:
        name, separator, header = assignment.partition("=")
        if not separator or not name or not header:
            raise UsageError(
                tr("not a column", "不是列映射"), where="--column", got=assignment, expected="field=header"
            )
        mapping[name] = header
    return mapping


def _tables(document: Mapping[str, Any], dropped: Mapping[str, int]) -> str:
    blocks = [_table(document)]
    if "against" in document:
        blocks += [f"{tr('against', '对照')} {document['against']['model']}", _table(document["against"])]
        blocks.append(_comparisons(document["comparisons"]))
    if dropped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items()))
        blocks.append(tr(f"not scored: {reasons}", f"未计分：{reasons}"))
    return "\n".join(block for block in blocks if block)


def _table(found: Mapping[str, Any]) -> str:
    """Scores by set, and macro-F1 by kind and strength of noise."""
    lines = []
    if found["sets"]:
        lines.append(
            f"{'':14}{'n':>7}{'macro-F1':>10}{'95 %':>18}{'micro-F1':>10}{'PR-AUC':>9}{'ECE':>8}{'drop':>8}"
        )
    for name, scores in found["sets"].items():
        drop = scores.get("drop")
        lines.append(
            f"{name:14}{scores['n']:>7}{scores['macro_f1']:>10.4f}{_interval(scores['macro_f1_interval']):>18}"
            f"{scores['micro_f1']:>10.4f}{scores['pr_auc_macro']:>9.4f}{scores['ece']:>8.4f}"
            + (f"{drop:>8.4f}" if drop is not None else "")
        )
    curve = found.get("noise_curve")
    if curve is None:
        return "\n".join(lines)
    strengths = list(dict.fromkeys(point["strength"] for point in curve["points"]))
    lines.append(
        tr("macro-F1 by noise", "各类噪声下的 macro-F1")
        + f", n = {curve['n']}: {curve['macro_f1']:.4f} "
        + tr("without", "（无噪声）")
    )
    lines.append(f"{'':14}" + "".join(f"{strength:>10.0%}" for strength in strengths))
    for kind in dict.fromkeys(point["kind"] for point in curve["points"]):
        row = [point["macro_f1"] for point in curve["points"] if point["kind"] == kind]
        lines.append(f"{kind:14}" + "".join(f"{score:>10.4f}" for score in row))
    return "\n".join(lines)


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"{tr('difference', '差值'):24}{'':>8}{'95 %':>20}{'p':>9}{'p (Holm)':>11}"]
    lines += [
        f"{row['set'] + ' ' + row['measure']:24}{row['difference']:>+8.4f}{_interval(row['interval']):>20}"
        f"{row['p']:>9.4f}{row['p_holm']:>11.4f}"
        for row in rows
    ]
    return "\n".join(lines)


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.4f} … {ends[1]:.4f}"
