"""The same dropout masks in several forward passes: keep the state of the generator that draws them, and put it back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DropoutState:
    """State of torch's global generators at one moment: the CPU's, and the GPU's that the model is on."""

    cpu: Tensor
    gpu: Tensor | None
    device: torch.device

    @classmethod
    def capture(cls, device: torch.device) -> DropoutState:
        """The state now. Only the generator that draws on `device` is read."""
        if device.type == "cuda":
            return cls(torch.empty(0), torch.cuda.get_rng_state(device), device)
        return cls(torch.get_rng_state(), None, device)

    def restore(self) -> None:
        """Go back to it: the next forward pass of a batch of the same shape draws the same masks."""
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)
        else:
            torch.set_rng_state(self.cpu)
