"""Options that several commands take, each with one name and one explanation, in the language in force when they are made."""

from __future__ import annotations

from typing import Any

import typer

from emr_fl_shared.messages import tr


def settings_file() -> Any:
    """`--config`: a TOML file of settings."""
    return typer.Option(help=tr("settings (TOML)", "设置文件 (TOML)"))


def assignments() -> Any:
    """`--set`: any setting, several times."""
    return typer.Option("--set", help=tr("override any setting: a.b=c", "覆盖任意设置：a.b=c"))


def data_folder() -> Any:
    """`--data`: a federation of the user's own."""
    return typer.Option(help=tr("folder with federation.toml", "含 federation.toml 的目录"))


def sample_sites() -> Any:
    """`--sites`: how large the sample federation is."""
    return typer.Option(help=tr("sites of the sample federation", "样例联邦的机构数"))


def sample_records() -> Any:
    """`--records`: how large the sample federation is."""
    return typer.Option(help=tr("training records of the sample federation", "样例联邦的训练记录数"))


def number_of_rounds() -> Any:
    """`--rounds`."""
    return typer.Option(help=tr("rounds", "轮数"))


def gpus_per_site() -> Any:
    """`--gpus`."""
    return typer.Option(help=tr("GPUs per site, fractions allowed", "每机构 GPU 数，可为小数"))
