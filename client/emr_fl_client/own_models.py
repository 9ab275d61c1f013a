"""The site's own models that rewrite its training text: whether their folders are there, said before anything starts."""

from __future__ import annotations

from pathlib import Path

from emr_fl_shared.config.settings import Rewriting
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr


def check_folders(rewriting: Rewriting, *, where: str) -> None:
    """Raises `SettingsError` for the first folder that holds no model; `where`: the section's dotted place. Nothing is loaded."""
    for name, path in rewriting.folders().items():
        folder = Path(path)
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise SettingsError(
                tr("there is no model in this folder", "该目录中没有模型"),
                where=f"{where}.{name}",
                got=path,
                expected=tr(
                    "a folder with config.json and safetensors weights",
                    "含 config.json 与 safetensors 权重的目录",
                ),
                do=tr(
                    "check the path; a model for this is never fetched",
                    "请检查路径；此处的模型从不联网获取",
                ),
            )
