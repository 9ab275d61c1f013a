"""Output in Chinese or English: `--lang`, then `EMR_FL_LANG`, then the locale."""

from __future__ import annotations

import os

_LANGUAGES = ("zh", "en")
_chosen: str | None = None


def set_language(language: str | None) -> None:
    """Choose `zh` or `en` for this process; `None` returns to the environment's choice."""
    global _chosen
    if language is not None and language not in _LANGUAGES:
        from emr_fl_shared.errors import UsageError

        raise UsageError(
            tr("unknown language", "未知的语言"), where="--lang", got=language, expected="zh | en"
        )
    _chosen = language


def language() -> str:
    """The language in force: `zh` or `en`."""
    if _chosen:
        return _chosen
    explicit = os.environ.get("EMR_FL_LANG", "").strip().lower()[:2]
    if explicit in _LANGUAGES:
        return explicit
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def tr(en: str, zh: str) -> str:
    """The text in the language in force."""
    return zh if language() == "zh" else en
