"""One tree of errors. A message says what, where, what was got and expected, and what to do."""

from __future__ import annotations


class EmrFlError(Exception):
    """Base of every error that a user may see; `exit_code` is the exit status of the command that meets it."""

    exit_code = 1

    def __init__(
        self, message: str, *, where: str = "", got: str = "", expected: str = "", do: str = ""
    ) -> None:
        self.message = message
        self.where = where
        self.got = got
        self.expected = expected
        self.do = do
        super().__init__(self.render())

    def render(self) -> str:
        """The error as one to a few lines of plain text."""
        from emr_fl_shared.messages import tr

        head = f"{self.where}: {self.message}" if self.where else self.message
        details = []
        if self.got:
            details.append(tr("got ", "得到 ") + self.got)
        if self.expected:
            details.append(tr("expected ", "应为 ") + self.expected)
        lines = [head + (" (" + "; ".join(details) + ")" if details else "")]
        if self.do:
            lines.append("  → " + self.do)
        return "\n".join(lines)


class UsageError(EmrFlError):
    """The command line was used wrongly."""

    exit_code = 2


class SettingsError(EmrFlError):
    """The settings are wrong; all problems are listed at once."""

    exit_code = 2

    def __init__(self, problems: list[EmrFlError] | str, **details: str) -> None:
        if isinstance(problems, str):
            self.problems: list[EmrFlError] = []
            super().__init__(problems, **details)
        else:
            self.problems = problems
            super().__init__("\n".join(problem.render() for problem in problems), **details)


class DataError(EmrFlError):
    """A file or its contents can't be used."""


class ColumnMapError(DataError):
    """The columns that the user named are not those of the file."""


class ModelError(EmrFlError):
    """A model can't be built, loaded or saved."""


class FederationError(EmrFlError):
    """A federation can't go on: too few sites, too few updates, a checkpoint that does not fit."""


class StorageError(EmrFlError):
    """Something could not be written: disk full, no permission."""


class PolicyError(EmrFlError):
    """Data, privacy or trust rules refused the request."""

    exit_code = 3


class BudgetSpent(PolicyError):
    """A privacy budget leaves no room for what was asked."""


class Interrupted(EmrFlError):
    """The user asked to stop."""

    exit_code = 130
