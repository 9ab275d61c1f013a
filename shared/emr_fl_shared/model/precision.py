"""Which number format a forward pass runs in: decided by what the device can do, never by timing.

A decision by timing could differ between two runs on one machine, and then a resumed run would not end with the
numbers of an uninterrupted one.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr

PrecisionName = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Precision:
    """A number format on a device. `bf16` and `fp16` are autocast: the parameters stay float32."""

    name: PrecisionName = "fp32"
    device_type: str = "cpu"

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients can underflow, so that the loss has to be scaled (fp16 only)."""
        return self.name == "fp16"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which a forward pass runs."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device_type, dtype=dtype)


FP32 = Precision()
SMALL = 2_000_000


@cache
def cpu_flags() -> frozenset[str]:
    """The instruction-set flags of this machine's CPU as Linux names them; empty elsewhere."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"flags", "Features"}:
                return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def cpu_bf16_pays(flags: frozenset[str] | None = None) -> bool:
    """Whether bf16 autocast is faster than float32 on this CPU: where it multiplies bf16 in hardware.

    That is with tiles (`amx_bf16`) or with vector instructions (`avx512_bf16`; a training step of the small encoder
    took 0.7 × (one layer of 128) to 0.56 × (two of 256) the time of float32 on a Zen 4, see `tests/benchmarks/training_step.py`). Elsewhere bf16 is emulated.
    """
    flags = cpu_flags() if flags is None else flags
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return x86 and not flags.isdisjoint({"amx_bf16", "avx512_bf16"})


def choose_precision(setting: str, device: torch.device, parameters: int | None = None) -> Precision:
    """The precision for `auto`, or the one that was asked for.

    On a CPU `auto` leaves models below `SMALL` parameters in float32: a training step of `tiny` is 1.2 × faster in bf16, but
    the compiled kernels take 250 MB more of each site's process (520 → 780 MB).

    Raises:
        SettingsError: unknown name, or fp16 on a CPU.
    """
    known = ("auto", *get_args(PrecisionName))
    if setting not in known:
        raise SettingsError(
            tr("unknown precision", "未知的精度"),
            where="training.precision",
            got=setting,
            expected=" | ".join(known),
        )
    name: PrecisionName
    if setting == "auto":
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        else:
            small = parameters is not None and parameters < SMALL
            name = "bf16" if device.type == "cpu" and cpu_bf16_pays() and not small else "fp32"
    else:
        name = setting  # type: ignore[assignment]
        if name == "fp16" and device.type == "cpu":
            raise SettingsError(
                tr("fp16 needs a GPU", "fp16 需要 GPU"),
                where="training.precision",
                got="fp16",
                expected="auto | fp32 | bf16",
            )
    return Precision(name, device.type)


def choose_device(setting: str) -> torch.device:
    """`auto` takes the first GPU that is visible, otherwise the CPU.

    Raises:
        SettingsError: a GPU was asked for that is not there.
    """
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(setting)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            tr("no such GPU", "没有这个 GPU"),
            where="training.device",
            got=setting,
            expected=tr(
                f"cpu, or one of {torch.cuda.device_count()} GPU(s)",
                f"cpu，或 {torch.cuda.device_count()} 个 GPU 之一",
            ),
            do=tr('set training.device = "cpu" or "auto"', '请设 training.device = "cpu" 或 "auto"'),
        )
    return device
