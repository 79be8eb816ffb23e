"""How PyTorch itself rounds: the program as it is, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.step_functions import FloatRule, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.turning import by_path
from hwsim.frontends.shared.values import Codes, Real, Unary, Weighing
from hwsim.frontends.torch.averages import of_reals
from hwsim.frontends.torch.decomposed import Decomposed


@dataclass(frozen=True, slots=True)
class EagerQuantizer(Decomposed):
    """quantize_per_tensor of what PyTorch has computed node by node."""

    def own(self, run: TensorBuilder, real: Real, name: str, out: str) -> Codes | None:
        """Sums and means in float32, and functions of a layer's sum."""
        steps = [step for step in real.steps if isinstance(step, Unary)]
        plain = len(steps) < len(real.steps) or all(step.clamp for step in steps)
        if plain or not isinstance(real.source, Weighing):
            return of_reals(run, real, self, name, out)
        edge, scale = weighed(run, real.source)
        worth = scale.astype(np.float64)
        kind = run.types[edge]
        sums = WholeSums(kind, lambda k: k * worth, np.zeros(1), worth.size, worth)
        rule = FloatRule(tuple(steps), self.codes)
        found = step_function(sums, rule) or by_path(sums, rule)
        if found is None:
            raise HwsimError(f"{steps[0].name}: a function of a sum must have few codes")
        edge = run.chain(name, edge, found.ops(self.format, self.quant), out)
        return Codes(edge, self.format, real.layout)
