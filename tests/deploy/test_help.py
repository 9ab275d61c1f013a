from __future__ import annotations

import pytest

from emr_fl_deploy.cli import run

ENGLISH, CHINESE = ("Options", "Arguments", "Commands"), ("选项", "参数", "命令")


@pytest.mark.parametrize(
    ("command", "panels"),
    [([], (0, 2)), (["data"], (0, 2)), (["predict"], (0, 1)), (["data", "deidentify"], (0, 1))],
    ids=lambda value: " ".join(map(str, value)) or "emr-fl",
)
@pytest.mark.parametrize(("lang", "titles", "others"), [("zh", CHINESE, ENGLISH), ("en", ENGLISH, CHINESE)])
def test_panels_of_the_help_are_titled_in_the_language(
    command: list[str],
    panels: tuple[int, ...],
    lang: str,
    titles: tuple[str, ...],
    others: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*command, "--help", "--lang", lang]) == 0
    shown = capsys.readouterr().out
    headings = [line.split()[1] for line in shown.splitlines() if line.startswith("╭")]
    assert sorted(headings) == sorted(titles[panel] for panel in panels)
    assert ("显示本帮助并退出。" in shown) == (lang == "zh")
