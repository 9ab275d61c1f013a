"""A site's own Presidio recognisers beside the rules: patterns and lists of words in a YAML file, or an engine that is handed over.

Presidio is installed by the site (`pip install "emr-fl[presidio]"`). No language model is loaded or fetched: the engine that is built
here does without one, so only recognisers that need none can stand in the file. All of them read every text, whatever language
they name. What the clinical lexicon protects is not removed on their word alone.

    [deidentification]
    presidio = "recognisers.yaml"
    presidio_labels = { BADGE = "RECORD_NUM" }
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from emr_fl_shared.deidentify.own_labels import kinds_of_labels
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import findings, words
from emr_fl_shared.errors import ModelError, SettingsError
from emr_fl_shared.messages import tr

LANGUAGE = "zh"
_LEAST_SCORE = 0.5
_WHERE = "deidentification.presidio"


class Presidio:
    """A recogniser; see `Recogniser` and the module's docstring.

    `engine`: a `presidio_analyzer.AnalyzerEngine`. It gets folded text, half-width; findings below a score of 0.5 do not count.
    `labels` maps its entities to kinds; empty: entities that are kinds themselves.
    Raises `ModelError` (an entity or kind that does not exist, an engine that writes what it reads into a log).
    """

    name = "presidio"

    def __init__(
        self, engine: Any, labels: Mapping[str, str] | None = None, *, language: str = LANGUAGE
    ) -> None:
        if engine.log_decision_process:
            raise ModelError(
                tr("this engine writes texts into its log", "该引擎会把文本写入日志"),
                where=_WHERE,
                got="log_decision_process = True",
                expected="False",
            )
        self._engine = engine
        self._language = language
        self._kind_of = kinds_of_labels(
            labels or {}, engine.get_supported_entities(language), where=f"{_WHERE}_labels"
        )
        self.kinds: tuple[str, ...] = tuple(sorted(set(self._kind_of.values())))
        self._protected = frozenset(words("protected.txt")) | findings()

    def __repr__(self) -> str:
        return f"Presidio({', '.join(self.kinds)})"

    @classmethod
    def from_file(cls, path: Path, labels: Mapping[str, str] | None = None) -> Presidio:
        """With the recognisers of a YAML file as Presidio has them (`recognizers:` with patterns or deny_list).

        Raises `SettingsError` if Presidio is not installed, `ModelError` if the file can't be read or holds something else.
        """
        return cls(_engine(path), labels)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans that Presidio finds; see `Recogniser`."""
        if not text.strip():
            return
        for found in self._engine.analyze(text, language=self._language, entities=list(self._kind_of)):
            if found.score >= _LEAST_SCORE and text[found.start : found.end] not in self._protected:
                yield Span(found.start, found.end, self._kind_of[found.entity_type], float(found.score))


def _engine(path: Path) -> Any:
    """An engine with the recognisers of the file and no language model."""
    try:
        from presidio_analyzer import (  # pyright: ignore[reportMissingImports]
            AnalyzerEngine,
            RecognizerRegistry,
        )
        from presidio_analyzer.nlp_engine import NoOpNlpEngine  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingsError(
            tr("Presidio is not installed, or too old", "未安装 Presidio，或版本过旧"),
            where=_WHERE,
            expected="presidio-analyzer >= 2.2.366",
            do='pip install "emr-fl[presidio]"',
        ) from None
    registry = RecognizerRegistry(supported_languages=[LANGUAGE])
    for place, described in enumerate(_read(path)):
        try:
            registry.add_pattern_recognizer_from_dict(_for_chinese(described))
        except Exception as error:  # Presidio raises whatever its parts raise; their text may quote the file
            raise _wrong(path, f"recognizers[{place}]: {type(error).__name__}") from None
    engine = AnalyzerEngine(
        registry=registry,
        nlp_engine=NoOpNlpEngine([{"lang_code": LANGUAGE, "model_name": "none"}]),
        supported_languages=[LANGUAGE],
    )
    try:
        engine.analyze("。", language=LANGUAGE)  # patterns are compiled at the first text
    except Exception as error:
        raise _wrong(path, type(error).__name__) from None
    return engine


def _for_chinese(described: Mapping[str, Any]) -> dict[str, Any]:
    """A recogniser that reads Chinese. Presidio finds the words of a `deny_list` between blanks only, of which Chinese has none: they
    become a pattern."""
    own = {**described, "supported_language": LANGUAGE}
    listed = own.pop("deny_list", None)
    if listed:
        words_first = "|".join(re.escape(word) for word in sorted(listed, key=len, reverse=True))
        pattern = {"name": "deny_list", "regex": words_first, "score": own.pop("deny_list_score", 1.0)}
        own["patterns"] = [*(own.get("patterns") or ()), pattern]
    return own


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _wrong(path, type(error).__name__) from None
    recognisers = content.get("recognizers") if isinstance(content, dict) else None
    if (
        not isinstance(recognisers, list)
        or not recognisers
        or not all(isinstance(item, dict) for item in recognisers)
    ):
        raise _wrong(path, tr("no list `recognizers`", "没有 recognizers 列表"))
    return recognisers


def _wrong(path: Path, got: str) -> ModelError:
    return ModelError(
        tr("the file of Presidio recognisers can't be used", "无法使用该 Presidio 识别器文件"),
        where=_WHERE,
        got=f"{path}: {got}",
        expected=tr(
            "YAML with recognizers: name, supported_entity, patterns or deny_list",
            "YAML，recognizers 下为 name、supported_entity、patterns 或 deny_list",
        ),
    )
