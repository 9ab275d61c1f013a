"""Build a multi-label classifier over any encoder, turn texts into token ids and token ids into logits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.batching import pad_batch
from emr_fl_shared.model.built_here import BUILT_HERE, build_here, register_with_transformers
from emr_fl_shared.model.precision import FP32, Precision
from emr_fl_shared.model.tiny import TinyShape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS_FILE, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass
class Encoder:
    """A classifier and the tokenizer that belongs to it.

    `labels` are the K output names in order; `max_length` is the number of tokens that the model really reads
    (never more than it has positions for); `standardise`: whether its texts go through the input standardiser first.
    """

    name: str
    # transformers' own annotations do not describe what its objects accept (`.to(device)`, `pad_token_id`)
    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int
    standardise: bool = False

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def build_model(
    name: str,
    labels: Sequence[str],
    *,
    max_length: int = 128,
    seed: int = 0,
    shape: TinyShape | None = None,
) -> Encoder:
    """A name of `BUILT_HERE` (seeded), or a hub name or local folder of any encoder, with a K-way sigmoid head.

    The head of a pre-trained encoder is new and seeded; weights are read from safetensors only and no code that
    comes with a model is run.

    Raises:
        ModelError: no such folder, no configuration, no safetensors weights, or the hub can't be reached.
    """
    if not labels:
        raise ModelError(tr("there is no label to predict", "没有可预测的标签"), where="labels")
    if name in BUILT_HERE:
        model, tokenizer = build_here(name, labels, max_length=max_length, seed=seed, shape=shape)
        return Encoder(name, model, tokenizer, tuple(labels), max_length)
    return _pretrained(name, tuple(labels), max_length, seed)


def _pretrained(name: str, labels: tuple[str, ...], max_length: int, seed: int) -> Encoder:
    from transformers import AutoModelForSequenceClassification

    from emr_fl_shared.text.tokeniser import add_placeholders

    source = find_source(name)
    config, tokenizer = load_config_and_tokenizer(source)
    config.num_labels = len(labels)
    config.problem_type = "multi_label_classification"
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    with quiet_transformers(), torch.random.fork_rng(devices=[]), loading(source):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
        if add_placeholders(tokenizer):
            model.resize_token_embeddings(max(len(tokenizer), model.get_input_embeddings().num_embeddings))
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelError(
            tr("the tokenizer has more entries than the model has embeddings", "分词器词表大于模型的嵌入表"),
            where="model.name",
            got=f"{len(tokenizer)} > {model.get_input_embeddings().num_embeddings}",
        )
    return Encoder(name, model, tokenizer, labels, min(max_length, position_limit(model, tokenizer)))


def find_source(name: str) -> str:
    """The folder or hub name behind `model.name`; a path that is not there is refused before any network is tried.

    Raises:
        ModelError: the folder is missing, has no `config.json`, or has no safetensors weights.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        looks_like_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name
        if looks_like_path or folder.exists():
            raise ModelError(
                tr("there is no such model folder", "找不到该模型目录"),
                where="model.name",
                got=name,
                expected=tr("a Hugging Face folder, a hub name, or ", "Hugging Face 目录、模型名或 ")
                + " | ".join(BUILT_HERE),
            )
        return name
    if not (folder / "config.json").is_file():
        raise ModelError(
            tr("the model folder has no config.json", "模型目录中没有 config.json"),
            where="model.name",
            got=name,
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        raise ModelError(
            tr(
                "the weights are a pickle file, which can run code when it is read",
                "权重是 pickle 文件，读取时可能执行代码",
            )
            if pickled
            else tr("the model folder has no weights", "模型目录中没有权重文件"),
            where="model.name",
            got=name,
            expected="model.safetensors",
            do=tr(
                "save the model once with save_pretrained(…), which writes safetensors, on a machine that may read it",
                "请在可信机器上用 save_pretrained(…) 另存为 safetensors 后再使用",
            ),
        )
    return str(folder)


def check_source(name: str, *, where: str = "model.name") -> None:
    """Find out cheaply whether `build_model` can load `name`: nothing is downloaded, and no weights are read but their headers.

    A hub name that is in the cache with its weights needs no network; any other one must be known to the hub.

    Raises:
        ModelError: as `build_model` does; `where` is the setting that it names.
    """
    if name in BUILT_HERE:
        return
    try:
        source = find_source(name)
        if Path(source).is_dir():
            load_config_and_tokenizer(source)
            with loading(source):
                _check_headers(Path(source))
        elif not _cached(source):
            _check_hub(source)
    except ModelError as error:
        raise ModelError(
            error.message, where=where, got=error.got, expected=error.expected, do=error.do
        ) from error


def _check_headers(folder: Path) -> None:
    """Raises where the weights that transformers would read are cut off, something else, or not all there."""
    from safetensors import safe_open

    if (folder / WEIGHTS_FILE).is_file():
        names = {WEIGHTS_FILE}
    elif (folder / WEIGHTS_INDEX).is_file():
        names = _shards(folder / WEIGHTS_INDEX)
    else:
        return  # the configuration may give them another name
    for name in sorted(names):
        with safe_open(folder / name, framework="pt"):
            pass


def _shards(index: Path) -> set[str]:
    return set(json.loads(index.read_bytes())["weight_map"].values())


def _cached(name: str) -> bool:
    """Whether the hub's cache on this machine holds the configuration and all weights."""
    from huggingface_hub import try_to_load_from_cache

    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            return False
        if isinstance(try_to_load_from_cache(name, WEIGHTS_FILE), str):
            return True
        index = try_to_load_from_cache(name, WEIGHTS_INDEX)
        return isinstance(index, str) and all(
            isinstance(try_to_load_from_cache(name, shard), str) for shard in _shards(Path(index))
        )
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        return False  # no name that the hub could have, or a damaged index


def _check_hub(name: str) -> None:
    """Raises `ModelError` if the hub can't be reached or has no such model."""
    from huggingface_hub import file_exists

    with loading(name):
        if not file_exists(name, "config.json"):
            raise FileNotFoundError("config.json")


def load_config_and_tokenizer(source: str) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a folder or hub name; a tokenizer without a pad token borrows one."""
    from transformers import AutoConfig, AutoTokenizer

    register_with_transformers()
    with quiet_transformers(), loading(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(
            tr("the tokenizer has no token to pad with", "分词器没有可用于填充的标记"),
            where="model.name",
            got=source,
        )
    return config, tokenizer


@contextmanager
def loading(source: str) -> Iterator[None]:
    """Translate what transformers raises while it loads `source` into one clear `ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # transformers, huggingface_hub and safetensors raise many unrelated types
        first_line = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        if Path(source).is_dir():
            raise ModelError(
                tr("the model folder can't be read", "无法读取模型目录"),
                where="model.name",
                got=f"{source}: {type(error).__name__}: {first_line}",
            ) from error
        raise ModelError(
            tr("the model can't be fetched from the hub", "无法从模型库获取该模型"),
            where="model.name",
            got=f"{source}: {type(error).__name__}",
            do=tr(
                'check the name and the network; without a network give a local folder (model.name = "/path") or "tiny"',
                '请检查模型名与网络；无网络时请给出本地目录（model.name = "/路径"）或使用 "tiny"',
            ),
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the load report and progress bars: a fresh head is expected here, not a problem."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def position_limit(model: nn.Module, tokenizer: Any = None) -> int:
    """How many tokens the model can read. RoBERTa-like encoders number positions from behind the pad index."""
    limit = int(min(getattr(tokenizer, "model_max_length", 1 << 30), 1 << 30))
    table = next(
        (
            m
            for n, m in model.named_modules()
            if n.endswith("position_embeddings") and isinstance(m, nn.Embedding)
        ),
        None,
    )
    if table is not None:
        offset = 0 if table.padding_idx is None else table.padding_idx + 1
        return min(limit, table.num_embeddings - offset)
    config: Any = getattr(model, "config", None)
    return min(limit, int(getattr(config, "max_position_embeddings", None) or limit))


def output_layer(model: nn.Module, labels: int) -> tuple[str, nn.Linear]:
    """The name and module of the last linear layer with one row a label.

    Raises:
        ModelError: the model has none.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels
    ]
    if not found:
        raise ModelError(
            tr("the model has no output layer with one row a label", "模型没有与标签数一致的输出层"),
            where="model.name",
            expected=f"{labels} rows",
        )
    return found[-1]


def label_row_parameters(model: nn.Module, labels: int) -> tuple[str, ...]:
    """Names of the parameters whose first dimension is the label: the output layer's weight and bias."""
    name, layer = output_layer(model, labels)
    return tuple(f"{name}.{part}" for part, _ in layer.named_parameters())


_ENCODED_AT_ONCE = 1024


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text, special tokens included, cut at `max_length`."""
    ids: list[list[int]] = []
    for first in range(0, len(texts), _ENCODED_AT_ONCE):
        # a tokeniser's answer holds far more than the ids: offsets, masks and words of every token
        encoded = tokenizer(
            list(texts[first : first + _ENCODED_AT_ONCE]),
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )
        ids += [list(row) for row in encoded["input_ids"]]
    return ids


def predict_logits(
    model: nn.Module,
    token_ids: Sequence[Sequence[int]],
    batch_size: int = 128,
    precision: Precision = FP32,
) -> NDArray[np.float32]:
    """Logits float32 [n, K] in the order of `token_ids`.

    Batches are formed by length, so that little is computed for padding. Runs on the model's device, in evaluation
    mode (the mode is restored), without gradients.
    """
    config: Any = model.config
    device = next(model.parameters()).device
    order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
    logits = np.zeros((len(token_ids), int(config.num_labels)), dtype=np.float32)
    limit = position_limit(model)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                ids, mask = pad_batch(
                    [token_ids[row] for row in rows],
                    int(config.pad_token_id or 0),
                    limit=limit,
                    device=device,
                )
                with precision.autocast():
                    output = model(input_ids=ids, attention_mask=mask).logits
                logits[rows] = output.float().cpu().numpy()
    finally:
        model.train(was_training)
    return logits
