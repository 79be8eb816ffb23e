"""How PyTorch itself rounds: the program as it is, in float32."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Real
from hwsim.frontends.torch.averages import of_reals
from hwsim.frontends.torch.decomposed import Decomposed
from hwsim.frontends.torch.float_sums import of_float_layer


@dataclass(frozen=True, slots=True)
class EagerQuantizer(Decomposed):
    """quantize_per_tensor of what PyTorch has computed node by node."""

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """Sums and means in float32, and functions of a layer's sum."""
        found = of_float_layer(run, real, self, name, out)
        return of_reals(run, real, self, name, out) if found is None else found
