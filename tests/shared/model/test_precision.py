"""The number format is decided by what the device can do."""

from __future__ import annotations

import pytest
import torch

from emr_fl_shared.errors import SettingsError
from emr_fl_shared.model import precision
from emr_fl_shared.model.precision import Precision, choose_device, choose_precision, cpu_bf16_pays

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("flags", "pays"),
    [({"amx_bf16", "avx512_bf16"}, True), ({"avx512_bf16"}, True), ({"avx2"}, False), (set(), False)],
    ids=["amx", "avx512-only", "avx2", "unknown"],
)
def test_bf16_on_a_cpu_needs_hardware_for_it(
    flags: set[str], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cpu_bf16_pays(frozenset(flags)) is pays
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    assert choose_precision("auto", CPU).name == ("bf16" if pays else "fp32")
    assert choose_precision("auto", CPU, 100_000_000).name == ("bf16" if pays else "fp32")
    assert choose_precision("auto", CPU, 1_000_000).name == "fp32"  # not worth a small model's memory


@pytest.mark.parametrize(("supported", "name"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_takes_fp16_and_a_scaler(
    supported: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    chosen = choose_precision("auto", CUDA)
    assert (chosen.name, chosen.device_type, chosen.needs_scaler) == (name, "cuda", name == "fp16")


def test_what_was_asked_for_is_taken() -> None:
    assert choose_precision("bf16", CPU) == Precision("bf16", "cpu")
    assert choose_precision("fp32", CUDA) == Precision("fp32", "cuda")


@pytest.mark.parametrize(("setting", "message"), [("int4", "unknown precision"), ("fp16", "needs a GPU")])
def test_what_can_not_be_is_refused(setting: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        choose_precision(setting, CPU)


def test_autocast_computes_in_the_named_format() -> None:
    left = torch.ones(4, 4)
    with Precision("bf16", "cpu").autocast():
        assert (left @ left).dtype == torch.bfloat16
    with Precision("fp32", "cpu").autocast():
        assert (left @ left).dtype == torch.float32


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(SettingsError, match="no such GPU"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
