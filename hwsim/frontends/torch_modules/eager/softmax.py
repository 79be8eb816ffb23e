"""A softmax along one axis: of codes with codes as its result, or of reals at a module's end.

qnnpack has a kernel of whole numbers (`u8lut32norm`): a table of exponentials of the distance to
a row's largest code, their sum, and a quotient whose ties go up. The other engines compute a
softmax of float32 numbers and quantize it: here exponentials have 30 bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.float_steps import RowStep
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.torch_modules.eager.engines import Engine
from hwsim.frontends.torch_modules.eager.importer import (
    FORMATS,
    Floats,
    QuantizedCodes,
    Rows,
    TorchImporter,
)
from hwsim.frontends.torch_modules.eager.moving import axis
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import Op, Quant, Quotient, Reduce, Reduction, Relu, Sub, Table
from hwsim.ops.base import IntArray

FRACTION = 30  # bits of exponentials
LARGEST = (1 << 23) - 1  # qnnpack's exponential of 0 in rows of up to 512 codes
SUM_BITS = 32
STEPS = 256  # of qnnpack's result in 1
LAST_BITS = "a softmax in float32 may have other last bits in PyTorch"
NEAR = (
    "PyTorch computes this softmax in float32; where it lies half way between two codes it may "
    "give the other one"
)


def of_reals(run: TorchImporter, call: Call) -> None:
    """A softmax, or its logarithm, of reals: a step of the port that shows it."""
    given, made = run.value(call, "self"), call.output
    if not isinstance(given, Floats):
        raise HwsimError(f"{call}: its input must be reals that a DeQuantStub gives of codes")
    if made.dtype != torch.float32:
        raise HwsimError(f"{call}: it must stay float32")
    place = axis(call, "dim", made.ndim)
    run.warn(call.title, LAST_BITS)
    step = RowStep(op="log_softmax" if "log" in call.name else "softmax", axes=(place,))
    run.values[id(made)] = Rows(given, step)


def of_codes(run: TorchImporter, call: Call) -> None:
    """quantized::softmax."""
    given, made = run.quantized(call, "qx"), call.output
    quant = run.meant(call, float(made.q_scale()), int(made.q_zero_point()))
    layout = Arrangement.innermost(given.layout.shape, axis(call, "dim", made.ndim))
    codes = run.arranged(given.codes, layout, call)
    whole = run.engine is Engine.QNNPACK and made.dtype == torch.quint8
    if whole and quant == Quant((1 / STEPS,), 0):
        last, tables = _of_qnnpack(given, layout.physical[-1], quant)
    else:
        run.warn(call.title, NEAR)
        last, tables = _of_floats(given, FORMATS[made.dtype], quant)
    edge = _quotient(run, call.title, codes.edge, last, tables)
    run.hold(call, edge, layout)


def _of_qnnpack(
    given: QuantizedCodes, length: int, quant: Quant
) -> tuple[Quotient, list[IntArray]]:
    """Its table, in float64 as PyTorch makes it, and 256 times as much above the sum."""
    most = min(((1 << SUM_BITS) - 1) / length, float(LARGEST))
    scale = float(np.float32(given.scale))
    table = np.rint([most * math.exp(-below * scale) for below in range(256)]).astype(np.int64)
    quotient = Quotient(out=Format.uint(8), rounding=Rounding.RND, quant=quant)
    return quotient, [table * STEPS, table]


def _of_floats(given: QuantizedCodes, out: Format, quant: Quant) -> tuple[Quotient, list[IntArray]]:
    """Exponentials over the result's scale, and their sum."""
    exact = np.exp(-np.arange(256) * given.scale) * 2.0**FRACTION
    quotient = Quotient(out=out, zero_point=quant.zero_point, quant=quant)
    return quotient, [np.rint(exact / s).astype(np.int64) for s in (quant.scale[0], 1.0)]


def _quotient(
    run: TorchImporter, name: str, edge: str, last: Quotient, tables: list[IntArray]
) -> str:
    """What tables of the distance to the largest code of a row give, over the sum of the second."""

    def step(what: str, op: Op, *edges: str) -> str:
        return run.emit(f"{name}.{what}", op, edges, f"{name}.{what}")

    rows = (len(run.types[edge].shape) - 1,)
    top = step("max", Reduce(reduction=Reduction.MAX, axes=rows), edge)
    below = step("distance", Relu(), step("below", Sub(), top, edge))
    above, under = (
        step(what, Table(values=values, out=Format.holding(0, int(values[0])), first=0), below)
        for what, values in zip(("scaled", "exp"), tables, strict=True)
    )
    total = step("sum", Reduce(reduction=Reduction.SUM, axes=rows), under)
    # The largest code is one of its row, which the bounds of a sum do not know.
    total = step("total", Relu(zero_point=int(tables[1][0])), total)
    return run.emit(name, last, [above, total], name)
