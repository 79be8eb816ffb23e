"""From a sum to codes of the result, as each kernel set rounds it, and fused activations."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import NARROW, Float64Array, KernelSet, limits
from hwsim.frontends.tflite.model import LiteNode, LiteTensor
from hwsim.frontends.tflite.schema import ACTIVATIONS
from hwsim.ops import Op, Quant, Relu, Requantize, Scheme


def requantized(
    run: LiteImporter, tensor: LiteTensor, scheme: Scheme, factor: Float64Array
) -> Requantize:
    """The rounding of sums of which one step is worth `factor` steps of a tensor."""
    quant = run.meaning(tensor)
    values = tuple(float(v) for v in factor)
    return Requantize(
        scheme=scheme,
        multiplier=values[:1] if len(set(values)) == 1 else values,
        out=run.format(tensor),
        zero_point=quant.zero_point,
        quant=Quant((float(quant.scale),), quant.zero_point),
    )


def wrapped(run: LiteImporter, name: str, edge: str) -> str:
    """Sums as the 32 bits of the runtime's accumulator hold them."""
    kind, long = run.types[edge], Format.int(32)
    if long.min <= kind.lo and kind.hi <= long.max:
        return edge
    wrap = Requantize(
        scheme=Scheme.SHIFT, multiplier=(1.0,), out=long, overflow=Overflow.WRAP, quant=kind.quant
    )
    return run.emit(f"{name}.wrapped", wrap, [edge], f"{name}.wrapped")


def same_meaning(run: LiteImporter, node: LiteNode, *given: LiteTensor) -> None:
    """Raise HwsimError unless tensors have the output's scale and zero point: codes are copied."""
    made = run.meaning(run.made(node))
    for tensor in given:
        meant = run.meaning(tensor)
        if (meant.scale, meant.zero_point) != (made.scale, made.zero_point):
            raise HwsimError(
                f"{node}: its inputs must have the scale and zero point of its output, "
                f"{made.scale} and {made.zero_point}, not {meant.scale} and {meant.zero_point} "
                f"({tensor.name!r})"
            )


def activation(
    run: LiteImporter, node: LiteNode, tensor: LiteTensor, *, delegated: bool = True
) -> list[Op]:
    """The clamp of an operator's fused activation; nothing where it clamps nothing.

    XNNPACK's bounds are those of what is `delegated` to it, which int16 never is.
    """
    number = int(node.options.get("activation", 0))
    name = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
    if name not in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"):
        raise HwsimError(f"{node}: its fused activation must clamp, not be {name}")
    quant, fmt = run.meaning(tensor), run.format(tensor)
    like = run.like if delegated and fmt.width <= NARROW else KernelSet.REFERENCE
    low, high = limits(like, name, quant.scale, quant.zero_point, (fmt.min, fmt.max))
    return clamp(fmt, low, max(low, high))


def clamp(fmt: Format, low: int, high: int) -> list[Op]:
    """What keeps codes of a format between two of them."""
    if (low, high) == (fmt.min, fmt.max):
        return []
    return [Relu(zero_point=low, maximum=None if high == fmt.max else high)]
