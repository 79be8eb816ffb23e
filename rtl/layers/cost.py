"""Hard multipliers under products, counted as Yosys will build them; look-up tables roughly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from amaranth.hdl import Shape

from hwsim.forms.requantizers import F32_BITS, Affine, FloatProduct, Form
from rtl.parts.arith import holding
from rtl.parts.multicycle import Multiplication, Serial
from rtl.parts.multiply import limb_shapes
from rtl.parts.pipeline import ChannelConstants, constant_shape
from rtl.parts.recipes import Recipe
from rtl.targets import REFERENCE


@lru_cache(maxsize=4096)
def rescaler_multipliers(form: Form, x: tuple[int, int], lanes: int, channels: int) -> int:
    """Hard multipliers of a `rtl.parts.requantizer.Requantizer` for codes in the range `x`."""
    if isinstance(form, Affine) and len(set(form.m)) == 1 and not form.m[0] & (form.m[0] - 1):
        return 0  # a power of two is wiring
    code = limb_shapes(_operand(form, x))
    constants = ChannelConstants({"m": form.m}, lanes=lanes, channels=channels)
    if constants.stored:
        factor = constant_shape(constants.varying["m"])
        return lanes * sum(hard_multipliers(a, b) for a in code for b in limb_shapes(factor))
    return sum(_by_constant(code, m) for m in constants.fixed["m"][:lanes])


def pipelined_tables(form: Form, lanes: int) -> int:
    """Look-up tables of a `rtl.parts.requantizer.Requantizer`, roughly, its registers among them.

    Fitted to a dozen that Yosys built: only ranks among options come of it.
    """
    if isinstance(form, Affine):
        return 20 + lanes * (100 + 2 * form.bits)
    return 20 + lanes * 650


def multicycle_tables(
    form: Form, made: Recipe, way: Multiplication, operands: tuple[Shape, Shape], *, lanes: int
) -> int:
    """Look-up tables of a `MulticycleRequantizer`, as roughly; `operands` are `product_shapes`."""
    code, factor = operands
    end = 40 + 2 * constant_shape(made.fields["r"]).width if isinstance(form, Affine) else 150
    if isinstance(way, Serial):
        return 35 + lanes * ((1 + way.bits) * factor.width + code.width // 2 + end)
    return 35 + lanes * (code.width // 4 + (100 if way.cycles(code, factor) > 1 else 0) + end)


def _operand(form: Form, x: tuple[int, int]) -> Shape:
    """The shape of the code that meets the multiplier, after its zero point and sign are off."""
    if isinstance(form, Affine):
        return holding(*x)
    lo, hi = (end - form.input_zero_point for end in x)
    if not isinstance(form, FloatProduct):
        return holding(lo, hi)
    shape, most = holding(lo, hi), max(-lo, hi)
    magnitude = Shape(shape.width, signed=False)
    return magnitude if most <= 1 << F32_BITS else holding(0, 2 * most)


def _by_constant(code: Sequence[Shape], factor: int) -> int:
    """A code, in limbs, times a number that is known: pieces that are powers of two are wiring."""
    pieces = [Shape(part.bit_length(), signed=False) for part in _parts(factor)]
    return sum(hard_multipliers(a, b) for a in code for b in pieces)


def _parts(factor: int) -> Iterator[int]:
    """The limbs of a constant that need a multiplier."""
    rest, start = abs(factor), 0
    for shape in limb_shapes(holding(0, rest)):
        part = rest >> start & ((1 << shape.width) - 1)
        start += shape.width
        if part & (part - 1):
            yield part


def hard_multipliers(a: Shape, b: Shape) -> int:
    """Hard multipliers under one product: Yosys cuts operands into as many bits as one takes.

    It does a last bit in logic. A signed operand makes the other signed, and a bit longer.
    """
    mixed = a.signed != b.signed
    return _pieces(a.width + (mixed and not a.signed)) * _pieces(b.width + (mixed and not b.signed))


def _pieces(width: int) -> int:
    return 0 if width < 2 else (width - 2) // REFERENCE.multiplier_bits + 1
