"""UNIDIRECTIONAL_SEQUENCE_LSTM of int8 with a cell of int16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.tflite import gates
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode, LiteQuant, LiteTensor
from hwsim.ops import (
    Add,
    Cast,
    Concat,
    Dense,
    Flatten,
    Mul,
    Op,
    Quant,
    Relu,
    Requantize,
    Reshape,
    Scheme,
    Split,
    Table,
    TensorType,
)
from hwsim.ops.base import IntArray

INT16 = Format.int(16)
WIDE = Format.int(32)
GATES = ("input", "forget", "cell", "output")
INPUT_WEIGHTS, STATE_WEIGHTS, BIASES = 1, 5, 12  # places of the first of four inputs each
HIDDEN, CELL = 18, 19  # places of the states
OTHERS = (9, 10, 11, 16, 17, 20, 21, 22, 23)  # peepholes, projection, layer norms
GATE_STEP = 2.0**-12
MOST_STEPS = 1 << 10


@dataclass(frozen=True, slots=True)
class LstmStep:
    """What one step of an LSTM needs besides its input and its states."""

    run: LiteImporter
    node: LiteNode
    name: str
    x: LiteQuant
    hidden: LiteQuant  # of the output and of the state
    bits: int  # the cell's codes are worth 2**bits

    @property
    def micro(self) -> bool:
        """Whether the kernel is TensorFlow Lite Micro's."""
        return self.run.like is KernelSet.TFLM

    def emit(self, op: Op, edges: Sequence[str], what: str) -> str:
        """A node of this step."""
        return self.run.emit(f"{self.name}.{what}", op, list(edges), f"{self.name}.{what}")

    def saturated(self, edge: str, what: str) -> str:
        """A sum kept to 16 bits."""
        return self.emit(Cast(out=INT16, overflow=Overflow.SAT), [edge], what)

    def scaled(self, edge: str, factor: float, out: Format, what: str, zero: int = 0) -> str:
        """gemmlowp's multiplication by a real number."""
        op = Requantize(
            scheme=Scheme.GEMMLOWP_DOUBLE, multiplier=(factor,), out=out, zero_point=zero
        )
        return self.emit(op, [edge], what)

    def gate(self, number: int, x: str, hidden: str) -> str:
        """The sum of a gate, in steps of 2**-12."""
        title = GATES[number]
        of_input = self._weighed(x, self.x, INPUT_WEIGHTS + number, BIASES + number, f"{title}.x")
        of_state = self._weighed(hidden, self.hidden, STATE_WEIGHTS + number, None, f"{title}.h")
        return self.saturated(self.emit(Add(), [of_input, of_state], f"{title}.sum"), title)

    def _weighed(
        self, edge: str, given: LiteQuant, weights: int, bias: int | None, what: str
    ) -> str:
        tensor = self.run.tensor(self.node, weights)
        values = np.asarray(self.run.constant(self.node, weights)).astype(np.int64).T
        quant = self.run.meaning(tensor)
        if tensor.dtype != "int8" or values.ndim != 2 or quant.zero_point:
            raise HwsimError(f"{self.node}: weights {tensor.name!r} must be a matrix of int8")
        added = np.zeros(values.shape[1], np.int64)
        if bias is not None and self.run.has(self.node, bias):
            added = np.asarray(self.run.constant(self.node, bias)).astype(np.int64)
        layer = Dense(
            weights=values,
            bias=added,
            weight_format=Format.int(8),
            bias_frac=0,
            zero_point=given.zero_point,
        )
        sums = self.emit(layer, [edge], f"{what}.sum")
        factor = float(given.scale) * float(quant.scale) / GATE_STEP
        factor = factor if self.micro else float(F32(factor))  # LiteRT multiplies in float32
        first = bias is not None
        return self.scaled(sums, factor, INT16 if first or self.micro else WIDE, what)

    def table(self, edge: str, values: IntArray, what: str) -> str:
        """A function of 16-bit codes."""
        return self.emit(Table(values=values, out=INT16), [edge], what)

    def step(self, x: str, hidden: str, cell: str) -> tuple[str, str]:
        """The states behind one step."""
        logistic, tanh, of_cell = (
            (gates.micro_logistic(), gates.micro_tanh(0), gates.micro_tanh(self.bits + 12))
            if self.micro
            else (gates.logistic(), gates.tanh(3), gates.tanh(15 + self.bits))
        )
        sums = [self.gate(number, x, hidden) for number in range(4)]
        opened = [
            self.table(edge, tanh if title == "cell" else logistic, f"{title}.gate")
            for title, edge in zip(GATES, sums, strict=True)
        ]
        into, forget, new, out = opened
        kept = self._product(forget, cell, 15, "kept")
        added = self._product(into, new, 30 + self.bits, "added")
        cell = self.saturated(self.emit(Add(), [kept, added], "cell.sum"), "cell")
        clip = float(self.node.options["cell_clip"])
        if clip > 0:
            limit = min(int(clip / 2.0**self.bits), INT16.max)
            cell = self.emit(Relu(zero_point=-limit, maximum=limit), [cell], "cell.clipped")
        shown = self.table(cell, of_cell, "cell.tanh")
        product = self.emit(Mul(quant=Quant((2.0**-30,))), [out, shown], "hidden.product")
        factor = 2.0**-30 / float(self.hidden.scale)
        factor = factor if self.micro else float(F32(factor))
        op = Requantize(
            scheme=Scheme.GEMMLOWP_DOUBLE,
            multiplier=(factor,),
            out=Format.int(8),
            zero_point=self.hidden.zero_point,
            quant=Quant((float(self.hidden.scale),), self.hidden.zero_point),
        )
        return self.emit(op, [product], "hidden"), cell

    def _product(self, a: str, b: str, right: int, what: str) -> str:
        """A product of 16-bit codes, shifted back; ties away from zero."""
        product = self.emit(Mul(quant=Quant((1.0,))), [a, b], f"{what}.product")
        if self.micro:
            return self.scaled(product, 2.0**-right, INT16, what)
        op = Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-right,),
            out=WIDE,
            rounding=Rounding.RND_INF,
        )
        return self.emit(op, [product], what)


def lstm(run: LiteImporter, node: LiteNode) -> None:
    """All steps of a sequence; both states go on to the next sequence."""
    for place in OTHERS:
        if run.has(node, place):
            raise HwsimError(f"{node}: it must have no peephole, projection or layer norm")
    if not run.has(node, INPUT_WEIGHTS):
        raise HwsimError(f"{node}: it must have an input gate of its own")
    if node.options["time_major"] or node.options["projection_clip"]:
        raise HwsimError(f"{node}: its batch must come first, and no projection be clipped")
    given, made = run.tensor(node, 0), run.made(node)
    shape = run.types[run.edge(node)].shape
    if len(shape) != 2 or shape[0] > MOST_STEPS or given.dtype != "int8":
        raise HwsimError(
            f"{node}: its input must be int8 of (1, up to {MOST_STEPS} steps, features), not "
            f"{(1, *shape)}"
        )
    name = run.label(made)
    hidden, cell = (run.tensor(node, place) for place in (HIDDEN, CELL))
    bits = _power(node, run.meaning(cell), cell)
    units = hidden.shape[-1]
    meant = run.meaning(hidden)
    shown = TensorType((units,), run.format(hidden), Quant((float(meant.scale),), meant.zero_point))
    states = [
        run.state(run.label(hidden), shown, meant.zero_point),
        run.state(run.label(cell), TensorType((units,), INT16), 0),
    ]
    sizes = (1,) * shape[0]
    parts = [run.edge(node)]
    if shape[0] > 1:
        titles = [f"{name}.x{step}" for step in range(shape[0])]
        parts = list(run.emit_all(f"{name}.steps", Split(axis=0, sizes=sizes), parts, titles))
    rows, (before, held) = [], states
    for step, part in enumerate(parts):
        one = LstmStep(run, node, f"{name}.{step}", run.meaning(given), run.meaning(hidden), bits)
        x = one.emit(Flatten(), [part], "x")
        before, held = one.step(x, before, held)
        rows.append(one.emit(Reshape(shape=(1, units)), [before], "y"))
    run.carry(states[0], before)
    run.carry(states[1], held)
    run.give(node, [Concat(axis=0)] if len(rows) > 1 else [], *rows)


def _power(node: LiteNode, quant: LiteQuant, tensor: LiteTensor) -> int:
    fraction, exponent = math.frexp(float(quant.scale))
    fits = fraction == 0.5 and -15 <= exponent - 1 <= -9  # up to 6 integer bits, as the kernels
    if not fits or quant.zero_point or tensor.dtype != "int16":
        raise HwsimError(
            f"{node}: its cell {tensor.name!r} must be int16 with a scale from 2**-15 to 2**-9, a "
            f"power of two, and zero point 0, not {quant.scale} and {quant.zero_point}"
        )
    return exponent - 1
