"""softmax and log_softmax, along one axis."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Real, Softmax
from hwsim.frontends.torch.importer import ProgramImporter
from hwsim.frontends.torch.moving import inner_axis
from hwsim.frontends.torch.program import ProgramNode

LAST_BITS = "a softmax in float32 may have other last bits in the runtime"


def softmax(run: ProgramImporter, node: ProgramNode) -> None:
    """A softmax still to come, of a float tensor that nothing quantizes again."""
    real = run.real(node, "self")
    shape = real.layout.shape
    axis = inner_axis(node, node.integer("dim"), len(shape) + 1)
    if node.flag("half_to_float") or node.args.get("dtype") not in (None, "float32"):
        raise HwsimError(f"{node}: it must stay float32")
    run.warn(node.name, LAST_BITS)
    layout = Arrangement.innermost(shape, axis)
    log = "log" in node.op
    run.values[node.output] = Real(
        Softmax(node.name, node.output, real, (axis,), layout, log), layout
    )
