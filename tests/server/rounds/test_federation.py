"""What a federation keeps from one start to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from emr_fl_server.checkpoints import latest_checkpoint, save_checkpoint
from emr_fl_server.evaluation.evaluator import Evaluator
from emr_fl_server.federation import Federation
from emr_fl_shared.config import Settings, settings_from
from emr_fl_shared.errors import FederationError
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.wire import DescribeReply


def settings(**changes: Any) -> Settings:
    return settings_from({"labels": {"taxonomy": "column"}, **changes}, where="test").resolved()


def federation(folder: Path, **changes: Any) -> Federation:
    def evaluator(taxonomy: Taxonomy) -> Evaluator:
        model = torch.nn.Linear(2, len(taxonomy.labels))
        return cast(Evaluator, SimpleNamespace(encoder=SimpleNamespace(model=model)))

    return Federation(settings(**changes), folder, evaluator, lambda: ["呼吸", "消化"])


def described(**labels: list[str]) -> dict[str, DescribeReply]:
    return {
        site: DescribeReply(site=site, labels=names, emr_fl="0", python="3", torch="2")
        for site, names in labels.items()
    }


def one_round(folder: Path, **changes: Any) -> Federation:
    made = federation(folder, **changes)
    made.agree(described(north=["呼吸"], south=["神经"]))
    made.save(replace(made.start(), round=1))
    return made


def test_labels_from_the_data_stay_those_of_the_checkpoint(tmp_path: Path) -> None:
    made = one_round(tmp_path)
    again = federation(tmp_path)
    again.agree(described(north=["呼吸", "新来的"]))  # the south can't say who it is just now
    assert again.taxonomy == made.taxonomy
    assert again.taxonomy is not None
    assert again.taxonomy.names == sorted(["呼吸", "消化", "神经"])
    assert again.start().round == 1
    assert again._found is None


@pytest.mark.parametrize("same", [True, False])
def test_a_checkpoint_without_its_labels_is_taken_up_where_they_are_the_same(
    tmp_path: Path, same: bool
) -> None:
    one_round(tmp_path)
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    state = {key: value for key, value in checkpoint.state.items() if key != "labels"}
    save_checkpoint(tmp_path / "checkpoints", 1, checkpoint.tensors, state)
    again = federation(tmp_path)
    again.agree(described(north=["呼吸"], **({"south": ["神经"]} if same else {})))
    if same:
        assert again.start().round == 1
        return
    with pytest.raises(FederationError, match="other labels"):
        again.start()


def test_a_label_set_of_its_own_is_still_compared(tmp_path: Path) -> None:
    one_round(tmp_path)
    again = federation(tmp_path, labels={"taxonomy": "outpatient-50"})
    again.agree(described(north=[]))
    with pytest.raises(FederationError, match="other labels"):
        again.start()
