"""What an experiment is: a TOML file with its question, the columns of its table and its configurations.

`resources/experiments` holds the built-in ones; a file of the user's own is read the same way (docs/experiments.md).
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from emr_fl_deploy.experiments.measures import known_column
from emr_fl_shared.config.loading import read_toml
from emr_fl_shared.config.problems import problem
from emr_fl_shared.config.settings import Section
from emr_fl_shared.errors import SettingsError, UsageError
from emr_fl_shared.messages import tr

IDENTIFIER = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
_BUILT_IN = files("emr_fl_deploy") / "resources" / "experiments"


class Both(Section):
    """A text in both languages."""

    en: Annotated[str, Field(min_length=1)]
    zh: Annotated[str, Field(min_length=1)]


PaperFigure = Annotated[list[float], Field(min_length=1, max_length=2)]
"""Mean and, where the paper has it, standard deviation; fractions."""


class Configuration(Section):
    """One row of the table: what is trained, under which settings."""

    id: Annotated[str, Field(pattern=IDENTIFIER.pattern)]
    name: Both
    note: Both | None = None
    kind: Literal["federation", "tfidf"] = "federation"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Laid over everything else, `--set` included: they are what makes this row this row."""
    policy: dict[str, Any] = Field(default_factory=dict)
    """Laid over the policy of every site."""
    alone: bool = False
    """A run for each site with that site only; the row is the mean over sites."""
    balanced: bool = True
    """Of `kind = "tfidf"`: class-balanced logistic regression."""
    needs: Literal["bert"] | None = None
    """An encoder that has to be named on the command line; without it the row is not run."""
    not_run: Both | None = None
    """Why this row of the paper has nothing to run here."""
    minutes: Annotated[float, Field(ge=0.0)] = 0.0
    """About how long a run of `tiny` takes on the sample federation, two cores."""
    paper: dict[str, PaperFigure] = Field(default_factory=dict)
    """The paper's figures by column."""

    @field_validator("paper")
    @classmethod
    def _known_columns(cls, paper: dict[str, PaperFigure]) -> dict[str, PaperFigure]:
        for column in paper:
            known_column(column)
        return paper


class Experiment(Section):
    """A table: its question, its columns, its rows."""

    name: Annotated[str, Field(pattern=IDENTIFIER.pattern)]
    title: Both
    question: Both
    paper: str | None = None
    """The number of the paper's table."""
    reference: str
    """The configuration that the others are compared with, paired by seed."""
    comparison: Literal["difference", "ratio"] = "difference"
    side_by_side: bool = False
    """One run at a time, configurations in turn: for times that are compared."""
    columns: Annotated[list[str], Field(min_length=1)]
    settings: dict[str, Any] = Field(default_factory=dict)
    """Laid over the settings of the data, under `--config` and `--set`."""
    configuration: Annotated[list[Configuration], Field(min_length=1)]

    @field_validator("columns")
    @classmethod
    def _columns_known(cls, columns: list[str]) -> list[str]:
        return [known_column(column) for column in columns]

    @model_validator(mode="after")
    def _one_of_each(self) -> Experiment:
        names = [configuration.id for configuration in self.configuration]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(tr(f"configuration {name} is there twice", f"配置 {name} 重复"))
        if self.reference not in names:
            raise ValueError(
                tr(
                    f"reference names no configuration: {self.reference}",
                    f"reference 不是任何配置：{self.reference}",
                )
            )
        return self

    def of(self, name: str) -> Configuration:
        """The configuration of this id. Raises `KeyError`."""
        return next(
            (configuration for configuration in self.configuration if configuration.id == name), None
        ) or _missing(name)


def _missing(name: str) -> Configuration:
    raise KeyError(name)


def known_experiments() -> tuple[str, ...]:
    """Names of the built-in experiments, the paper's tables first."""
    found = {path.name.removesuffix(".toml") for path in _BUILT_IN.iterdir() if path.name.endswith(".toml")}
    return tuple(sorted(found, key=lambda name: (not name.startswith("table"), name)))


def load_experiment(name: str) -> Experiment:
    """A built-in experiment by name, or one in a file `NAME.toml`.

    Raises:
        UsageError: no such experiment.
        SettingsError: a file that is not one; all problems at once.
    """
    if name in known_experiments():
        path = Path(str(_BUILT_IN / f"{name}.toml"))
    elif name.endswith(".toml"):
        path = Path(name)
    else:
        raise UsageError(
            tr("no such experiment", "没有这个实验"),
            where="NAME",
            got=name,
            expected=" | ".join(known_experiments()) + tr(" or a file NAME.toml", " 或文件 NAME.toml"),
            do="emr-fl experiment list",
        )
    tree = {"name": path.stem, **read_toml(path)}
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(
            [problem(item, Experiment, [(str(path), {})]) for item in error.errors()]
        ) from None
