"""Every error that a user may see is said in both languages."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import emr_fl_client
import emr_fl_deploy
import emr_fl_server
import emr_fl_shared
from emr_fl_shared import errors
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.model.tensors import load_tensors
from emr_fl_shared.wire import DescribeRequest, unpack

PACKAGES = (emr_fl_shared, emr_fl_client, emr_fl_server, emr_fl_deploy)
OURS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, EmrFlError)
}


def english_only(source: str) -> list[int]:
    """Lines of errors whose message is a plain piece of text."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in OURS
        and node.args
        and isinstance(node.args[0], (ast.Constant, ast.JoinedStr))
    ]


def test_no_error_is_in_english_only() -> None:
    assert english_only('raise DataError("what")')
    found = {
        f"{path}:{line}"
        for package in PACKAGES
        for path in Path(package.__path__[0]).rglob("*.py")
        for line in english_only(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_malformed_messages_and_tensors_are_said_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "zh")
    odd = to_records("{}")
    odd["more"] = to_records("{}")["body"]
    model = torch.nn.Linear(2, 1)
    for attempt, said in (
        (lambda: from_records(odd), "消息格式不正确"),
        (lambda: unpack("{}", DescribeRequest), "消息格式不正确"),
        (lambda: unpack("x" * 2**24, DescribeRequest), "消息过大"),
        (lambda: load_tensors(model, {"weight": np.ones(3, np.float32)}), "张量与模型不符"),
        (lambda: load_tensors(model, {"w": np.ones(3, np.float32)}), "无此张量"),
    ):
        with pytest.raises(EmrFlError) as caught:
            attempt()
        assert said in caught.value.render()
