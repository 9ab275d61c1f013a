"""The tree of settings. Each section is a frozen model; `docs/settings.md` explains every key.

Values that are left out and depend on the model (`rounds`, `epochs`, `learning_rate`) stay `None` here and are
filled in by `Settings.resolved()`, so that `settings.toml` in a run folder always shows what was really used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from emr_fl_shared.config.addresses import server_address
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.source import Source, check_url, is_database, located_from

TINY = "tiny"
PAPER_ENCODER = "hfl/chinese-roberta-wwm-ext"
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SITE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
LONGEST_VALIDITY = 3650 * 86400.0
"""Seconds. The authority of a federation is valid for ten years, and nothing that it issues may outlive it."""


def duration_seconds(value: object) -> object:
    """`"90s"`, `"30m"`, `"2h"` or `"1d"` → seconds; plain numbers are seconds."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if not match:
            raise ValueError(
                tr(
                    'expected a duration such as "90s", "30m", "2h" or "1d"',
                    '应为时长，例如 "90s"、"30m"、"2h"、"1d"',
                )
            )
        return float(match.group(1)) * _SECONDS[match.group(2)]
    return value


def folder_name(value: str) -> str:
    """A name that may stand in the run folder's name: no path separators or control characters, no dot in front."""
    if value.startswith(".") or "/" in value or "\\" in value or not value.isprintable():
        raise ValueError(
            tr(
                "it names the run folder: no / or \\, no control characters, no dot in front",
                "它用作运行目录名：不能含 /、\\ 或控制字符，也不能以点开头",
            )
        )
    return value


Duration = Annotated[float, BeforeValidator(duration_seconds), Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen part of the settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Federation(Section):
    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(folder_name)] = "emr-fl"
    rounds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    min_sites: Annotated[int, Field(ge=1)] = 2
    round_deadline: Duration = 7200.0
    patience: Annotated[int, Field(ge=0)] | None = None
    """Rounds without a better validation macro-F1 before the federation stops early; 0 never stops early."""


class Labels(Section):
    taxonomy: Annotated[str, Field(min_length=1)] = "outpatient-50"


class Model(Section):
    name: Annotated[str, Field(min_length=1)] = PAPER_ENCODER
    max_length: Annotated[int, Field(ge=8, le=4096)] = 128
    standardise: bool = False
    """Whether all that the model reads goes through `text.standardise` first: in training, evaluation and prediction alike."""


class Loss(Section):
    kind: Literal["bce_focal", "asymmetric", "distribution_balanced", "logit_adjusted"] = "bce_focal"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    coarse: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the loss on the ICD-10 chapters of the labels, beside that of the labels."""
    # bce_focal
    bce: Annotated[float, Field(ge=0.0)] = 1.0
    focal: Annotated[float, Field(ge=0.0)] = 1.0
    gamma: Annotated[float, Field(ge=0.0)] = 2.0
    alpha: float | str = 0.5
    """A number in [0, 1] for all labels, or "balanced": one a label, from how often the site's drawn records have it."""
    alpha_exponent: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    # asymmetric
    gamma_positive: Annotated[float, Field(ge=0.0)] = 0.0
    gamma_negative: Annotated[float, Field(ge=0.0)] = 4.0
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    # distribution_balanced
    weight_floor: Annotated[float, Field(ge=0.0)] = 0.1
    weight_slope: Annotated[float, Field(ge=0.0)] = 10.0
    weight_centre: Annotated[float, Field(ge=0.0)] = 0.2
    negative_scale: Annotated[float, Field(gt=0.0)] = 2.0
    bias_scale: Annotated[float, Field(ge=0.0)] = 0.05
    # logit_adjusted
    tau: Annotated[float, Field(ge=0.0)] = 1.0

    # One validator instead of a union of types, whose problems would be reported once a type.
    @field_validator("alpha", mode="before")
    @classmethod
    def _number_or_balanced(cls, alpha: object) -> object:
        number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
        if alpha != "balanced" and not (number and 0.0 <= alpha <= 1.0):  # type: ignore[operator]
            raise ValueError(
                tr('alpha is a number from 0 to 1 or "balanced"', 'alpha 应为 0 到 1 之间的数或 "balanced"')
            )
        return alpha

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Loss:
        if self.kind == "bce_focal" and self.bce == 0.0 and self.focal == 0.0:
            raise ValueError(
                tr(
                    "bce and focal are both 0: there is no loss to minimise",
                    "bce 与 focal 均为 0：没有可优化的损失",
                )
            )
        return self


OPERATORS = (
    "synonyms",
    "colloquial",
    "eda",
    "placeholders",
    "character_noise",
    "fields",
    "punctuation",
    "pivot",
)
"""The rule operators of `[training.augmentation]`, each with a share of its own name."""
REWRITERS = ("mlm", "back_translation")
"""Those that rewrite with a model, off by default; a note meets one of them or the rules."""


class Augmentation(Section):
    enabled: bool = True
    probability: Share = 0.5
    """Share of the drawn notes that are changed at all in an epoch."""
    synonyms: Annotated[float, Field(ge=0.0)] | None = None
    colloquial: Annotated[float, Field(ge=0.0)] | None = None
    eda: Annotated[float, Field(ge=0.0)] | None = None
    placeholders: Annotated[float, Field(ge=0.0)] | None = None
    character_noise: Annotated[float, Field(ge=0.0)] | None = None
    fields: Annotated[float, Field(ge=0.0)] | None = None
    punctuation: Annotated[float, Field(ge=0.0)] | None = None
    pivot: Annotated[float, Field(ge=0.0)] | None = None
    mlm: Annotated[float, Field(ge=0.0)] = 0.0
    back_translation: Annotated[float, Field(ge=0.0)] = 0.0
    mlm_pick: Literal["top", "sample"] = "top"
    """Which of the model's words replaces the one that was there: its first, or one drawn from its best."""
    bleu: Share = 0.75
    """A back-translated sentence counts only where its BLEU against the original is above this."""

    def shares(self) -> dict[str, float]:
        """The shares of rule operators that are set; operators that are left out keep their default share."""
        return {name: getattr(self, name) for name in OPERATORS if getattr(self, name) is not None}

    def rewriter_shares(self) -> dict[str, float]:
        """The shares above 0 of the operators that need a model, on the same scale."""
        return {name: getattr(self, name) for name in REWRITERS if getattr(self, name) > 0.0}

    @model_validator(mode="after")
    def _something_to_do(self) -> Augmentation:
        nothing = all(getattr(self, name) == 0.0 for name in (*OPERATORS, *REWRITERS))
        if self.enabled and self.probability > 0 and nothing:
            raise ValueError(
                tr(
                    "all shares are 0: there is nothing to draw from; enabled = false switches augmentation off",
                    "所有操作的份额均为 0：没有可用的操作；若要关闭数据增强，请设 enabled = false",
                )
            )
        return self


Steps = Annotated[int, Field(ge=0, le=20)]

_METHOD_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "fgsm": {"steps": 1, "weight": 0.5, "top_loss": 1.0},
    "pgd": {"weight": 1.0, "top_loss": 1.0},
    "freelb": {"weight": 1.0},
    "vat": {"steps": 1, "top_loss": 1.0, "regularisation": 1.0, "start": 0.01},
    "smart": {
        "steps": 1,
        "norm": "linf",
        "top_loss": 1.0,
        "regularisation": 1.0,
        "start": 0.01,
        "bregman": 1.0,
        "momentum": 0.99,
        "teacher_every": 1,
    },
}
"""What a method takes where a key is left out: as published, but for radii and FreeLB's `steps` and `top_loss`."""

_COSTS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"every": 3},
    "robust": {"top_loss": 0.9},
}
"""FreeLB's presets by cost: `fast` at most 1.25 × a plain step, `robust` at most 2 × (docs/results.md)."""

_PAPER: Mapping[str, Any] = {
    "steps": 5,
    "step_size": 1e-3,
    "radius": 1e-5,
    "relative": False,
    "weight": 0.5,
    "top_loss": 1.0,
    "start": 1e-5,
}
"""The values printed in the paper that emr-fl follows (`start` is SMART's own). A radius of 1e-5 is about 0.02 % of an
embedding's norm, far less than what dropout does to it: kept for comparison."""

_METHODS_WITH: Mapping[str, tuple[str, ...]] = {
    "step_size": ("pgd", "freelb", "smart"),
    "weight": ("fgsm", "pgd", "freelb"),
    "regularisation": ("vat", "smart"),
    "start": ("vat", "smart"),
    "bregman": ("smart",),
    "momentum": ("smart",),
    "teacher_every": ("smart",),
}
"""Keys that not every method has."""


class Adversarial(Section):
    method: Literal["none", "fgsm", "pgd", "freelb", "vat", "smart"] = "freelb"
    preset: Literal["fast", "balanced", "robust", "paper"] = "balanced"
    """Where keys that are left out come from: the method's own defaults, FreeLB made cheaper or stronger, or the paper's absolute values."""
    steps: Annotated[int, Field(ge=1, le=20)] = 2
    phases: Annotated[list[Steps], Field(max_length=20)] = Field(default_factory=list)
    """K of each of equal parts of the training (0: plain) in the place of `steps`."""
    norm: Literal["l2", "linf"] = "l2"
    relative: bool = True
    """Whether `radius`, `step_size` and `start` are shares of the measured norm of the embedded note."""
    step_size: Annotated[float, Field(ge=0.0)] | None = None
    """Left out: `radius` / K."""
    radius: Annotated[float, Field(ge=0.0)] = 0.08
    weight: Share | None = None
    """Share w of the adversarial loss beside (1 − w) × the clean one; 1 is FreeLB and PGD as published."""
    regularisation: Annotated[float, Field(ge=0.0)] | None = None
    start: Annotated[float, Field(gt=0.0)] | None = None
    bregman: Annotated[float, Field(ge=0.0)] | None = None
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    teacher_every: Annotated[int, Field(ge=1)] | None = None
    top_loss: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the batch, highest loss first, that goes through the adversarial passes."""
    every: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        """Keys that are left out take the preset's value, then the method's. What is wrong is reported by the fields."""
        if not isinstance(given, Mapping):
            return given
        method = given.get("method", "freelb")
        if not isinstance(method, str) or method not in _METHOD_DEFAULTS:
            return given
        filled = dict(_METHOD_DEFAULTS[method])
        if given.get("preset") == "paper":
            named = {**_METHODS_WITH, "steps": ("pgd", "freelb")}
            filled |= {key: value for key, value in _PAPER.items() if method in named.get(key, (method,))}
        elif method == "freelb" and isinstance(preset := given.get("preset"), str):
            filled |= _COSTS.get(preset, {})
        return {**filled, **given}

    @model_validator(mode="after")
    def _of_this_method(self) -> Adversarial:
        if self.method == "none":
            return self
        if self.preset in _COSTS and self.method != "freelb":
            raise ValueError(
                tr(
                    f'the preset {self.preset} is for method = "freelb"',
                    f'预设 {self.preset} 只用于 method = "freelb"',
                )
            )
        for key, methods in _METHODS_WITH.items():
            if getattr(self, key) is not None and self.method not in methods:
                raise ValueError(
                    tr(
                        f"{key} has no meaning for {self.method}: it is for {', '.join(methods)}",
                        f"{key} 对 {self.method} 没有意义：它用于 {'、'.join(methods)}",
                    )
                )
        if self.phases and not any(self.phases):
            raise ValueError(
                tr(
                    'all phases are 0: method = "none" switches adversarial training off',
                    '各阶段的步数均为 0：若要关闭对抗训练，请设 method = "none"',
                )
            )
        if self.method == "fgsm" and max(self.steps, *self.phases, 1) > 1:
            raise ValueError(
                tr(
                    'fgsm takes one step; for more use method = "pgd"',
                    'fgsm 只走一步；多步请用 method = "pgd"',
                )
            )
        if self.method == "smart" and self.bregman and self.momentum == 0.0 and self.teacher_every == 1:
            raise ValueError(
                tr(
                    "bregman does nothing with momentum 0 and teacher_every 1: the teacher is the model itself; raise one of them, or set bregman = 0",
                    "momentum 为 0 且 teacher_every 为 1 时 bregman 不起作用：教师就是模型本身；请调高其一，或设 bregman = 0",
                )
            )
        return self


class Consistency(Section):
    """Symmetric divergence between what the model says of a note and of a noised copy, beside any method."""

    weight: Annotated[float, Field(ge=0.0)] = 0.0
    probability: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class Mixup(Section):
    """MixUp on word embeddings; a mixed record depends on another one of its batch."""

    probability: Share = 0.0
    """Share of the batches that are mixed; the paper's is 0.2."""
    alpha: Annotated[float, Field(gt=0.0)] = 0.4


class Averaging(Section):
    """What a site sends as its weights after a round: the last ones, or a mean along its steps."""

    kind: Literal["none", "ema", "swa"] = "none"
    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    start: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5


class Training(Section):
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Most records a forward pass; the gradient of a larger batch is accumulated over parts. Left out: the whole batch."""
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup: Share = 0.06
    """Share of the whole federation's steps (not of a round's) over which the learning rate rises."""
    clip_norm: Annotated[float, Field(gt=0.0)] = 1.0
    balance: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    """Exponent of class-balanced sampling ∝ n_c^−balance; 0 samples as the data are."""
    balance_by: Literal["site", "federation"] = "site"
    """Whose records n_c counts: the site's own, or those of all sites whose policies let label counts out."""
    mask_absent_labels: bool = True
    validation_share: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.1
    split: Literal["patient", "time"] = "patient"
    """`patient`: by labels, over all visits; `time`: trains on the past and validates on the last months."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    mixup: Mixup = Mixup()
    adversarial: Adversarial = Adversarial()
    consistency: Consistency = Consistency()
    averaging: Averaging = Averaging()

    def couples_records(self) -> tuple[str, ...]:
        """The settings in force under which a record's gradient depends on other records of its batch, as dotted places.

        What bounds the influence of one record by its own gradient (differential privacy) has to refuse them.
        """
        coupled = []
        if self.mixup.probability > 0.0:
            coupled.append("training.mixup.probability")
        adversarial = self.adversarial
        # FreeLB's first pass is of the whole batch, and its only one with K = 1
        more = adversarial.method != "freelb" or max(adversarial.phases or [adversarial.steps]) > 1
        if adversarial.method != "none" and more and adversarial.top_loss < 1.0:
            coupled.append("training.adversarial.top_loss")
        return tuple(coupled)


class Pretraining(Section):
    """Rounds of masked language modelling over the sites' training texts before classification."""

    rounds: Annotated[int, Field(ge=0, le=10_000)] = 0
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    mask: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of a text's tokens, by whole words, that the model has to fill in."""


class FedProx(Section):
    mu: Annotated[float, Field(ge=0.0)] = 0.01
    """Weight of the proximal term; 0 is FedAvg."""


class FedAvgM(Section):
    learning_rate: Annotated[float, Field(gt=0.0)] = 1.0
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5


class Adaptive(Section):
    """FedAdagrad, FedAdam and FedYogi."""

    learning_rate: Annotated[float, Field(gt=0.0)] = 0.01
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Left out: 0.9, and 0 for FedAdagrad."""
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Not used by FedAdagrad."""
    tau: Annotated[float, Field(gt=0.0)] = 1e-3


class Scaffold(Section):
    learning_rate: Annotated[float, Field(gt=0.0)] = 1.0


class Aggregation(Section):
    strategy: Literal["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold"] = (
        "fedavg"
    )
    weighting: Literal["examples", "even", "effective_labels"] = "examples"
    effective_beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """β of the effective number of a label's records, (1 − β^n) / (1 − β)."""
    payload: Literal["fp32", "bf16", "int8"] = "fp32"
    label_rows: Literal["present", "all"] = "present"
    """`present`: a label's output row is averaged over the sites whose update moved it."""
    max_norm_ratio: Annotated[float, Field(gt=1.0)] = 10.0
    """An update whose norm is more than this many times the sites' median norm is refused."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay a round of the exponential moving average of the global models, which is then what is evaluated and saved; 0: none."""
    fedprox: FedProx = FedProx()
    fedavgm: FedAvgM = FedAvgM()
    adaptive: Adaptive = Adaptive()
    scaffold: Scaffold = Scaffold()


class Policy(Section):
    """What a site lets out. It is read from the site's own settings only; a server can't change it."""

    smallest_count: Annotated[int, Field(ge=1)] = 5
    """A label's name, or a score over fewer records than this, never leaves."""
    share_scores: bool = True
    """Whether losses and scores on the site's own validation records may leave."""
    share_label_counts: bool = False
    """Whether the numbers of training records of each label may leave; those below `smallest_count` leave as 0."""
    share_controls: bool = False
    """Whether the site's mean gradient may leave beside its update (SCAFFOLD)."""
    share_language_model: bool = False
    """Whether updates of a masked language model of the site's training texts may leave (`[pretraining]`)."""
    max_rounds: Annotated[int, Field(ge=1)] = 10_000
    deidentification_recall: Share = 0.95
    """Below this share of planted identifiers removed, the site does not train and writes no copy; 0 switches it off."""
    deidentification_names: Share = 0.90
    """The same for names of patients, relatives and staff."""
    smallest_k: Annotated[int, Field(ge=1)] = 5
    """Fewest records that share age band, sex, department and quarter in a de-identified copy; 1 leaves them as they are."""


class Noisy(Section):
    rate: Annotated[float, Field(ge=0.0, le=0.5)] = 0.10
    seed: Annotated[int, Field(ge=0)] = 2026


class Attack(Section):
    texts: Annotated[int, Field(ge=0)] = 200
    """Texts of the standard set that are attacked, at the end with queries to the final model."""
    budget: Annotated[int, Field(ge=1)] = 100
    max_changed: Annotated[float, Field(gt=0.0, le=1.0)] = 0.15
    seed: Annotated[int, Field(ge=0)] = 2026


def file_path(value: str) -> str:
    """A path, not the URL of a database."""
    if is_database(value):
        raise ValueError(tr("a held-out set is a file, not a database", "留出集应为文件，而不是数据库"))
    return value


FilePath = Annotated[str, AfterValidator(file_path)]


class HeldOut(Section):
    standard: FilePath | None = None
    validation: FilePath | None = None
    cross_site: FilePath | None = None
    noisy: FilePath | None = None
    adversarial: FilePath | None = None


class Evaluation(Section):
    batch_size: Annotated[int, Field(ge=1)] = 128
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """A fixed threshold; left out: fitted on the validation set."""
    threshold_shrinkage: Annotated[float, Field(ge=0.0)] | None = None
    """Thresholds a label, shrunk towards the global one as if it had so many positives; left out: the global one for all."""
    noisy: Noisy = Noisy()
    adversarial: Attack = Attack()
    sets: HeldOut = HeldOut()
    columns: dict[str, str] = Field(default_factory=dict)
    """Header → field map for the held-out files, where their headers are not understood."""

    @model_validator(mode="after")
    def _fixed_or_fitted(self) -> Evaluation:
        if self.threshold is not None and self.threshold_shrinkage is not None:
            raise ValueError(
                tr(
                    "threshold is fixed and threshold_shrinkage fits one a label: give one of the two",
                    "threshold 为固定阈值，threshold_shrinkage 则逐标签拟合：二者只能给一个",
                )
            )
        return self


class Operators(Section):
    """What takes the place of identifiers of a kind."""

    DATE: Literal["placeholder", "quarter", "days", "shift"] = "placeholder"
    AGE: Literal["keep", "band"] = "band"
    AGE90: Literal["placeholder", "band"] = "placeholder"
    BED_NUM: Literal["placeholder", "department"] = "placeholder"
    VISIT_NUM: Literal["placeholder", "department"] = "placeholder"


class Deidentification(Section):
    operators: Operators = Operators()
    ner: Annotated[str, Field(min_length=1)] | None = None
    """Folder of the site's own token-classification model (Hugging Face), beside the rules; never from the network."""
    ner_labels: dict[str, str] = Field(default_factory=dict)
    """Its labels → kinds, e.g. `PER = "PATIENT_NAME"`; empty: labels that are kinds themselves."""
    ner_device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "cpu"
    presidio: Annotated[str, Field(min_length=1)] | None = None
    """YAML file with the site's own Presidio recognisers, beside the rules; Presidio must be installed."""
    presidio_labels: dict[str, str] = Field(default_factory=dict)
    """Their entities → kinds; empty: entities that are kinds themselves."""


class Rewriting(Section):
    """Folders of the site's own models that rewrite its training text; never from the network."""

    masked_lm: Annotated[str, Field(min_length=1)] | None = None
    """A …ForMaskedLM for `training.augmentation.mlm`; left out: the federation's warm-up, or the encoder's own folder."""
    forward: Annotated[str, Field(min_length=1)] | None = None
    backward: Annotated[str, Field(min_length=1)] | None = None
    """MarianMT from Chinese into a language, and back, for `training.augmentation.back_translation`."""

    @model_validator(mode="after")
    def _there_and_back(self) -> Rewriting:
        if (self.forward is None) != (self.backward is None):
            raise ValueError(
                tr(
                    "forward and backward: back-translation needs both folders",
                    "forward 与 backward：回译需要两个模型目录",
                )
            )
        return self

    def folders(self) -> dict[str, str]:
        """Key → folder, of those that are set."""
        return {name: path for name in type(self).model_fields if (path := getattr(self, name)) is not None}


LOCAL_LABELS_FILE = "labels.local.toml"


class SiteSettings(Section):
    source: Annotated[str, Field(min_length=1)]
    """A file (CSV, TSV, XLSX, XLS, JSONL, Parquet) or the URL of a database, without a password."""
    query: Annotated[str, Field(min_length=1)] | None = None
    table: Annotated[str, Field(min_length=1)] | None = None
    """What a database is asked: one SELECT, or a table or view (`schema.name`) as a whole."""
    sheet: Annotated[str, Field(min_length=1)] | None = None
    """The sheet of a workbook; left out: the first one with an understood header."""
    password_env: Annotated[str, Field(min_length=1)] | None = None
    password_file: Annotated[str, Field(min_length=1)] | None = None
    """Where the password of the database is: the name of an environment variable, or a file that only its owner can read."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """Folder of the federation's encoder at this site, where its name alone does not lead to it (no network, another path)."""
    columns: dict[str, str] = Field(default_factory=dict)
    roster: Annotated[str, Field(min_length=1)] | None = None
    """File with the names of the site's staff, one a line; read into memory only."""
    local_labels: Annotated[str, Field(min_length=1)] | None = None
    """The site's own signed mapping of codes and names to labels; in SITE.toml left out: `labels.local.toml` beside it, if there."""
    deidentification: Deidentification = Deidentification()
    rewriting: Rewriting = Rewriting()
    policy: Policy = Policy()

    # As a validator of the whole section, so that a problem never shows the URL and the password in it.
    @model_validator(mode="after")
    def _one_way_to_the_records(self) -> SiteSettings:
        if not is_database(self.source):
            for name in ("query", "table", "password_env", "password_file"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        tr(
                            f"{name} is for a database, and source is a file",
                            f"{name} 只用于数据库，而 source 是文件",
                        )
                    )
            return self
        try:
            check_url(self.source)
        except SettingsError as error:
            raise ValueError(f"{error.message}\n  → {error.do}") from None
        if (self.query is None) == (self.table is None):
            raise ValueError(
                tr("a database needs query or table, one of the two", "数据库需要 query 或 table 之一")
                + '\n  → table = "v_visits"'
            )
        if self.password_env is not None and self.password_file is not None:
            raise ValueError(
                tr(
                    "password_env and password_file: give one of the two",
                    "password_env 与 password_file 只能给一个",
                )
            )
        if self.sheet is not None:
            raise ValueError(
                tr("sheet is for a workbook, not for a database", "sheet 只用于工作簿，不用于数据库")
            )
        return self

    def records_source(self) -> Source:
        """Where the records are, as `read_records` takes it."""
        return Source(
            self.source,
            query=self.query or "",
            table=self.table or "",
            sheet=self.sheet or "",
            password_env=self.password_env or "",
            password_file=self.password_file or "",
        )

    def with_paths_from(self, folder: Path) -> SiteSettings:
        """A copy whose relative paths (source, an SQLite database in it, password, roster, mapping of labels, token classifier, Presidio
        recognisers) are taken from `folder`."""
        update: dict[str, Any] = {"source": located_from(self.source, folder)}
        for name in ("password_file", "roster", "local_labels"):
            if (path := getattr(self, name)) is not None:
                update[name] = located_from(path, folder)
        own = self.deidentification
        given = {name: path for name in ("ner", "presidio") if (path := getattr(own, name)) is not None}
        if given:
            located = {name: located_from(path, folder) for name, path in given.items()}
            update["deidentification"] = own.model_copy(update=located)
        models = {name: located_from(path, folder) for name, path in self.rewriting.folders().items()}
        update["rewriting"] = self.rewriting.model_copy(update=models)
        return self.model_copy(update=update)


class Server(Section):
    """How sites reach the server, and who may join; read by `emr-fl server provision`, not in simulation."""

    addresses: Annotated[list[Annotated[str, AfterValidator(server_address)]], Field(max_length=32)] = Field(
        default_factory=list
    )
    """DNS names and IP addresses under which sites reach the server; the first is written into kits."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9443
    sites: list[str] = Field(default_factory=list)
    """Who may join; empty: the names of [sites.*]."""
    validity: Annotated[Duration, Field(ge=3600.0, le=LONGEST_VALIDITY)] = 365 * 86400.0
    """How long certificates and kits are valid, in seconds."""

    @field_validator("addresses")
    @classmethod
    def _addresses_once(cls, addresses: list[str]) -> list[str]:
        for address in sorted({address for address in addresses if addresses.count(address) > 1}):
            raise ValueError(tr(f"{address} is there twice", f"{address} 重复"))
        return addresses

    @field_validator("sites")
    @classmethod
    def _names_once(cls, names: list[str]) -> list[str]:
        check_site_names(names)
        # Folders of kits are named after sites, and not every disk tells A from a.
        folded = [name.casefold() for name in names]
        for name in sorted({name for name in names if folded.count(name.casefold()) > 1}):
            raise ValueError(
                tr(f"{name} is there twice (case does not count)", f"{name} 重复（不区分大小写）")
            )
        return names


def check_site_names(names: Iterable[str]) -> None:
    """Raises ValueError for the first name that can't be a site's."""
    for name in names:
        if not SITE_NAME.fullmatch(name):
            raise ValueError(
                tr(
                    f"{name[:80]!r}: a site's name has letters, digits, '.', '_' and '-' only, at most 64",
                    f"{name[:80]!r}：机构名只能含字母、数字、'.'、'_'、'-'，至多 64 个字符",
                )
            )


class Settings(Section):
    """Everything, as in `docs/settings.md`."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    federation: Federation = Federation()
    labels: Labels = Labels()
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    training: Training = Training()
    aggregation: Aggregation = Aggregation()
    evaluation: Evaluation = Evaluation()
    server: Server = Server()
    sites: dict[str, SiteSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _site_names(self) -> Settings:
        check_site_names(self.sites)
        return self

    @model_validator(mode="after")
    def _somebody_trains_the_masked_lm(self) -> Settings:
        augmentation = self.training.augmentation
        untrained = self.model.name == TINY and self.pretraining.rounds == 0
        if augmentation.enabled and augmentation.mlm > 0.0 and untrained and self.sites:
            without = [name for name, site in self.sites.items() if site.rewriting.masked_lm is None]
            if without:
                raise ValueError(
                    tr(
                        f"training.augmentation.mlm: tiny has no trained masked-language-modelling head, and there is none at {', '.join(sorted(without))}\n"
                        "  → set pretraining.rounds, or sites.NAME.rewriting.masked_lm",
                        f"training.augmentation.mlm：tiny 没有训练好的掩码语言模型头，{'、'.join(sorted(without))} 也没有\n"
                        "  → 请设置 pretraining.rounds，或 sites.NAME.rewriting.masked_lm",
                    )
                )
        return self

    def sites_that_may_join(self) -> list[str]:
        """`server.sites`, or the names of [sites.*] where that is empty."""
        return list(self.server.sites or self.sites)

    def resolved(self) -> Settings:
        """A copy in which nothing that training needs is left open.

        `tiny` starts from random weights and takes the values measured for it (`docs/sample-federation.md`); any other
        encoder is pre-trained and takes the paper's (MISSION: AdamW 2e-5, 10 rounds of one epoch).
        """
        tiny = self.model.name == TINY
        patience = self.federation.patience
        federation = self.federation.model_copy(
            update={
                "rounds": self.federation.rounds or (TINY_ROUNDS if tiny else 10),
                "patience": patience if patience is not None else (TINY_PATIENCE if tiny else 5),
            }
        )
        adversarial = self.training.adversarial
        stepping = adversarial.method in ("none", *_METHODS_WITH["step_size"])
        if adversarial.step_size is None and not adversarial.phases and stepping:
            adversarial = adversarial.model_copy(update={"step_size": adversarial.radius / adversarial.steps})
        training = self.training.model_copy(
            update={
                "epochs": self.training.epochs or (TINY_EPOCHS if tiny else 1),
                "learning_rate": self.training.learning_rate or (TINY_LEARNING_RATE if tiny else 2e-5),
                "adversarial": adversarial,
            }
        )
        pretraining = self.pretraining.model_copy(
            update={"learning_rate": self.pretraining.learning_rate or (TINY_LEARNING_RATE if tiny else 5e-5)}
        )
        adaptive = self.aggregation.adaptive
        if adaptive.beta1 is None:
            beta1 = 0.0 if self.aggregation.strategy == "fedadagrad" else 0.9
            adaptive = adaptive.model_copy(update={"beta1": beta1})
        aggregation = self.aggregation.model_copy(update={"adaptive": adaptive})
        return self.model_copy(
            update={
                "federation": federation,
                "pretraining": pretraining,
                "training": training,
                "aggregation": aggregation,
            }
        )

    def plain(self) -> Settings:
        """The same federation without augmentation, MixUp and adversarial training (the `federated_plain` baseline)."""
        training = self.training.model_copy(
            update={
                "augmentation": self.training.augmentation.model_copy(update={"enabled": False}),
                "mixup": self.training.mixup.model_copy(update={"probability": 0.0}),
                "adversarial": self.training.adversarial.model_copy(update={"method": "none"}),
                "consistency": self.training.consistency.model_copy(update={"weight": 0.0}),
            }
        )
        return self.model_copy(update={"training": training})

    def with_paths_from(self, folder: Path) -> Settings:
        """A copy whose relative paths (sites, held-out sets, taxonomy and model folders) are taken from `folder`."""

        def absolute(path: str) -> str:
            return str(folder / path) if not Path(path).is_absolute() else path

        sites = {name: site.with_paths_from(folder) for name, site in self.sites.items()}
        given = {key: absolute(path) for key, path in self.evaluation.sets if path}
        evaluation = self.evaluation.model_copy(
            update={"sets": self.evaluation.sets.model_copy(update=given)}
        )
        labels = self.labels
        if Path(labels.taxonomy).suffix.lower() in {".csv", ".toml"}:
            labels = labels.model_copy(update={"taxonomy": absolute(labels.taxonomy)})
        model = self.model
        if model.name != TINY and (folder / model.name).is_dir():
            model = model.model_copy(update={"name": absolute(model.name)})
        return self.model_copy(
            update={"sites": sites, "evaluation": evaluation, "labels": labels, "model": model}
        )

    def as_toml_dict(self) -> dict[str, Any]:
        """Plain data without `None`, as TOML has none."""
        dumped: dict[str, Any] = _without_none(self.model_dump(mode="json"))
        return dumped


# Measured for `tiny` on the sample federation's validation set, see docs/results.md.
TINY_ROUNDS = 20
TINY_EPOCHS = 1
TINY_LEARNING_RATE = 2e-3
TINY_PATIENCE = 10


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
