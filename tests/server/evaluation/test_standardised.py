"""`model.standardise` on the server: what is typed, noisy or attacked reaches the model in the standardiser's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emr_fl_server.evaluation.evaluator import Evaluator
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_server.federation import Federation, FederationState
from emr_fl_shared.config import Settings
from emr_fl_shared.labels import Taxonomy, column_taxonomy
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape
from emr_fl_shared.preparation import model_text
from emr_fl_shared.text.noise import make_noisy

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])
COMPLAINTS = ["T38.5，咳嗽3d，咽痛", "上腹痛2w，WBC12.3×10^9/L", "头晕5d，BP150/90mmHg"]


def made(path: Path, rows: range) -> str:
    lines = [f"P{row},{COMPLAINTS[row % 3]}，第{row}次，无胸痛,{TAXONOMY.names[row % 3]}" for row in rows]
    text = "患者ID,主诉,标签\n" + "\n".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "model": {"name": "tiny", "standardise": True},
            "evaluation": {
                "columns": {"labels": "标签"},
                "sets": {
                    "standard": made(tmp_path / "standard.csv", range(30)),
                    "validation": made(tmp_path / "validation.csv", range(30, 60)),
                },
                "adversarial": {"texts": 6, "budget": 10},
            },
        }
    )


def without(settings: Settings) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update={"standardise": False})})


def as_input(texts: list[str]) -> list[str]:
    return [model_text(text, standardised=True)[0] for text in texts]


def test_every_set_is_standardised_after_the_noise(settings: Settings) -> None:
    validation, sets = HeldOutSets(settings).sets(TAXONOMY)
    plain_validation, plain = HeldOutSets(without(settings)).sets(TAXONOMY)
    assert any("T38.5" in text for text in plain["standard"].texts)
    assert not any("T38.5" in text for text in sets["standard"].texts)
    assert validation.texts == as_input(plain_validation.texts) != plain_validation.texts
    for name in ("standard", "noisy"):
        assert sets[name].texts == as_input(plain[name].texts) != plain[name].texts
        assert sets[name].y is plain[name].y or (sets[name].y == plain[name].y).all()
    noise = settings.evaluation.noisy
    assert plain["noisy"].texts == make_noisy(plain["standard"].texts, rate=noise.rate, seed=noise.seed)
    assert sets["adversarial"].texts == as_input(sets["adversarial"].texts)


def test_an_attackers_text_goes_the_same_way() -> None:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    held_out = HeldOutSet("standard", ["咳嗽"], np.ones((1, 3), dtype=bool), ["p"])

    def logits(standardise: bool, text: str) -> Any:
        encoder = build_model("tiny", TAXONOMY.names, max_length=48, seed=1, shape=shape)
        encoder.standardise = standardise
        return Evaluator(encoder, held_out, {"standard": held_out}).of_texts([text])

    assert (logits(True, "Ｔ３８．５，，咳嗽") == logits(True, "体温38.5，咳嗽")).all()
    assert (logits(False, "Ｔ３８．５，，咳嗽") != logits(False, "体温38.5，咳嗽")).any()


@pytest.mark.parametrize("standardise", [True, False])
def test_sites_are_told(settings: Settings, tmp_path: Path, standardise: bool) -> None:
    def no_evaluator(_: Taxonomy) -> Any:
        raise AssertionError

    chosen = settings if standardise else without(settings)
    federation = Federation(chosen.resolved(), tmp_path / "run", no_evaluator, list, taxonomy=TAXONOMY)
    state = FederationState(0, {})
    for request in (federation.train_request(1, state), federation.evaluate_request(state)):
        assert request.model == {"name": "tiny", "max_length": 128, "standardise": standardise}
