"""A trained model as a folder that plain transformers can load, with the label set and decision rule beside it.

config.json  model.safetensors  tokenizer files     Auto classes read these
labels.json  thresholds.json                        `Taxonomy` and `Decision`
input.json                                          what a text goes through before the tokenizer
MODEL_CARD.md                                       what it is, for people
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emr_fl_shared.errors import ModelError, StorageError
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import (
    Encoder,
    find_source,
    load_config_and_tokenizer,
    loading,
    position_limit,
    quiet_transformers,
)

LABELS_FILE = "labels.json"
DECISION_FILE = "thresholds.json"
INPUT_FILE = "input.json"
CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds."""

    encoder: Encoder
    labels: Taxonomy
    decision: Decision


def save_model(directory: Path, encoder: Encoder, labels: Taxonomy, decision: Decision, card: str) -> None:
    """Write the folder; it is complete or not there: files go to a neighbouring folder that takes its place at the end.

    Raises:
        ModelError: the label set is not the one that the model predicts.
        StorageError: the folder can't be written.
    """
    if tuple(labels.names) != encoder.labels:
        raise ModelError(
            tr("the label set is not the one that the model predicts", "标签体系与模型输出不一致"),
            got=f"{len(labels.names)}",
            expected=f"{len(encoder.labels)}",
        )
    directory = Path(directory)
    partial: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        with quiet_transformers():
            encoder.tokenizer.save_pretrained(partial)
            encoder.model.save_pretrained(partial)
        (partial / LABELS_FILE).write_text(labels.to_json() + "\n", encoding="utf-8")
        (partial / DECISION_FILE).write_text(
            json.dumps(decision.to_json(), indent=2) + "\n", encoding="utf-8"
        )
        (partial / INPUT_FILE).write_text(
            json.dumps({"standardise": encoder.standardise}, indent=2) + "\n", encoding="utf-8"
        )
        (partial / CARD_FILE).write_text(card, encoding="utf-8")
        partial.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        partial.replace(directory)
    except OSError as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise StorageError(
            tr("the model can't be written", "无法写入模型"),
            where=str(directory),
            got=error.strerror or type(error).__name__,
        ) from error


def load_model(directory: Path | str) -> SavedModel:
    """Read a folder that `save_model` wrote. Weights are read from safetensors only; no code in the folder is run.

    Raises:
        ModelError: no such folder, a file is missing or unreadable, or labels and weights do not fit together.
    """
    from transformers import AutoModelForSequenceClassification

    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise ModelError(
            tr("there is no such model folder", "找不到该模型目录"), where="--model", got=str(folder)
        )
    source = find_source(str(folder))
    labels = Taxonomy.from_json(_read_json(folder / LABELS_FILE))
    decision = Decision.from_json(_read_json(folder / DECISION_FILE))
    standardise = _reads_standardised(folder)
    config, tokenizer = load_config_and_tokenizer(source)
    with quiet_transformers(), loading(source):
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    if int(model.config.num_labels) != len(labels):
        raise ModelError(
            tr("labels.json does not fit the weights", "labels.json 与模型权重不一致"),
            where=str(folder),
            got=f"{len(labels)}",
            expected=f"{model.config.num_labels}",
        )
    model.eval()
    encoder = Encoder(
        str(folder), model, tokenizer, tuple(labels.names), position_limit(model, tokenizer), standardise
    )
    return SavedModel(encoder, labels, decision)


def _reads_standardised(folder: Path) -> bool:
    """What `input.json` says; `False` where there is none, as in folders of earlier versions."""
    path = folder / INPUT_FILE
    if not path.exists():
        return False
    value = _read_json(path)
    if set(value) != {"standardise"} or not isinstance(value["standardise"], bool):
        raise ModelError(
            tr("a file of the saved model can't be read", "无法读取已保存模型的文件"),
            where=str(path),
            expected='{"standardise": true | false}',
        )
    return value["standardise"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            tr("a file of the saved model is missing", "已保存的模型缺少文件"),
            where=str(path.parent),
            expected=path.name,
            do=tr("give the folder model/ of a run", "请给出某次运行的 model/ 目录"),
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            tr("a file of the saved model can't be read", "无法读取已保存模型的文件"),
            where=str(path),
            got=type(error).__name__,
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            tr("a file of the saved model can't be read", "无法读取已保存模型的文件"), where=str(path)
        )
    return value
