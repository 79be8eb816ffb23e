"""How PyTorch itself rounds: the program as it is, in float32."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.frontends.torch.decomposed import Decomposed


@dataclass(frozen=True, slots=True)
class EagerQuantizer(Decomposed):
    """quantize_per_tensor of what PyTorch has computed node by node."""
