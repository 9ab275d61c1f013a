"""What is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_deploy.simulate.preflight import check_labels, check_sources
from emr_fl_shared.config import load_settings, settings_from
from emr_fl_shared.errors import SettingsError


def settings(taxonomy: str, coarse: float):
    return settings_from({"labels": {"taxonomy": taxonomy}, "training": {"loss": {"coarse": coarse}}})


def test_chapters_are_learned_with_a_label_set_that_has_them_only(tmp_path: Path) -> None:
    without = tmp_path / "own.csv"
    without.write_text("id,zh\n1,甲\n2,乙\n", encoding="utf-8")
    for taxonomy in ("column", str(without)):
        check_labels(settings(taxonomy, 0.0))
        with pytest.raises(SettingsError, match=r"training\.loss\.coarse.*chapter") as caught:
            check_labels(settings(taxonomy, 0.5))
        assert caught.value.exit_code == 2
    check_labels(settings("outpatient-50", 0.5))


def test_a_missing_model_folder_of_a_site_is_said_before_anything_starts(hand_written: Path) -> None:
    own = {"rewriting": {"forward": "models/zh-en", "backward": "models/en-zh"}}
    given = load_settings(hand_written / "federation.toml", overrides={"sites": {"south": own}})
    with pytest.raises(SettingsError) as caught:
        check_sources(given.with_paths_from(hand_written))
    assert caught.value.exit_code == 2
    assert caught.value.where == "sites.south.rewriting.forward"
    assert caught.value.got == str(hand_written / "models" / "zh-en")
