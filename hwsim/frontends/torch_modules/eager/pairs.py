"""Sums and products of two tensors, and tensors one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Rounding
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.literals import literal
from hwsim.frontends.shared.pairing import common_shape, lying
from hwsim.frontends.shared.values import Codes
from hwsim.frontends.torch_modules.eager import functions
from hwsim.frontends.torch_modules.eager.importer import FORMATS, QuantizedCodes, TorchImporter
from hwsim.frontends.torch_modules.eager.moving import axis
from hwsim.frontends.torch_modules.eager.positions import VectorsAndRest, filled, placed
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import (
    Add,
    Concat,
    Mul,
    Op,
    PairTable,
    Quant,
    Relu,
    Requantize,
    ScaledAdd,
    Scheme,
    Table,
    TensorType,
)
from hwsim.ops.base import Carrier, IntArray

F32 = np.float32
ODD = 63  # codes that no vector takes, side by side
Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def both(run: TorchImporter, call: Call) -> None:
    """add, mul and the like, of two tensors or of one and a number."""
    if not isinstance(call["qb"] if "qb" in call.arguments else call["b"], torch.Tensor):
        functions.function("qa")(run, call)
        return
    made = call.output
    if made.dtype not in FORMATS:
        raise HwsimError(f"{call}: it must give quint8 or qint8, not {made.dtype}")
    given = [_operand(run, call, name) for name in ("qa", "qb")]
    shape = tuple(made.shape[1:])
    common_shape(call, given[0].layout.shape, given[1].layout.shape)
    wanted, layout = lying([g.layout for g in given], shape)
    held = [run.arranged(g.codes, way, call) for g, way in zip(given, wanted, strict=True)]

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functions.again(call, {"qa": a, "qb": b})
        return found

    cases = _cases(given)
    vector = _asked(kernel, cases)
    rest = np.concatenate(
        [_asked(kernel, [c[i : i + ODD] for c in cases]) for i in range(0, vector.size, ODD)]
    )
    columns = 1 << given[1].codes.format.width

    def rest_at(case: int) -> Any:
        codes = [case // columns + given[0].codes.format.min]
        codes.append(case % columns + given[1].codes.format.min)
        ones = [
            filled(call[name], code, g.scale, g.zero_point)
            for name, code, g in zip(("qa", "qb"), codes, given, strict=True)
        ]
        return (kernel(*ones).int_repr().numpy() == rest[case])[0]

    mask = VectorsAndRest(vector, rest, rest_at).mask(run, call)
    builds = [_build(run, call, given, values.reshape(-1, columns)) for values in (vector, rest)]
    if mask is None:
        mask = np.zeros(shape, bool)
    if any(codes.layout.shape != shape for codes in held):
        name = call.title
        edge = builds[int(mask.all())](name, [codes.edge for codes in held])
        run.hold(call, edge, layout)
        return
    edge, layout = placed(run, call, held, mask, *builds)
    run.hold(call, edge, layout)


def _operand(run: TorchImporter, call: Call, name: str) -> QuantizedCodes:
    """An operand; a constant one becomes an edge."""
    tensor = call[name]
    if id(tensor) in run.values or tensor.dtype not in FORMATS:
        return run.quantized(call, name)
    other = run.quantized(call, "qb" if name == "qa" else "qa")
    scale, zero = float(tensor.q_scale()), int(tensor.q_zero_point())
    values = tensor.int_repr().numpy().astype(np.int64)
    values = values[0] if values.ndim == len(other.layout.shape) + 1 else values
    codes = literal(
        run,
        other.codes,
        values,
        FORMATS[tensor.dtype],
        quant=Quant((scale,), zero),
        name=f"{call.title}.{name}",
    )
    return QuantizedCodes(codes, scale, zero)


def _cases(given: Sequence[QuantizedCodes]) -> list[torch.Tensor]:
    """Each code of the first with each of the second."""
    first, second = (g.all_codes() for g in given)
    a = first.int_repr().repeat_interleave(len(second))
    b = second.int_repr().repeat(len(first))
    return [
        torch._make_per_tensor_quantized_tensor(whole, g.scale, g.zero_point)
        for whole, g in zip((a, b), given, strict=True)
    ]


def _asked(kernel: Kernel, cases: Sequence[torch.Tensor]) -> IntArray:
    return np.asarray(kernel(*cases).int_repr().numpy(), np.int64)


def _build(
    run: TorchImporter, call: Call, given: Sequence[QuantizedCodes], values: IntArray
) -> Callable[[str, list[str]], str]:
    """What makes a result: the simplest operators with these codes, else a table of both."""
    made = call.output
    quant, fmt = Quant((float(made.q_scale()),), int(made.q_zero_point())), FORMATS[made.dtype]
    low = quant.zero_point if call.name.endswith("_relu") else fmt.min
    clamp: list[Op] = [] if low == fmt.min else [Relu(zero_point=low)]
    kinds = [TensorType((1,), g.codes.format, g.quant) for g in given]
    ways = _products if call.name.startswith("quantized::mul") else _sums
    for way in ways(given, fmt, quant):
        if way.fits(kinds, np.maximum(values, low) if clamp else values, low):
            return lambda title, edges: run.chain(
                title, way.emit(run, title, edges), [*way.after, *clamp], title
            )
    table = PairTable(values=values, out=fmt, quant=quant)
    return lambda title, edges: run.emit(title, table, edges, title)


@dataclass(frozen=True, slots=True, eq=False)
class PairWay:
    """Operators on two tensors: one on each, one on both, and those behind it."""

    before: tuple[list[Op], list[Op]]
    both: Op
    after: list[Op]

    def emit(self, run: TorchImporter, title: str, edges: Sequence[str]) -> str:
        """The edge of both together."""
        parts = [
            run.chain(f"{title}.{place}", edge, ops, f"{title}.{place}")
            for place, (edge, ops) in enumerate(zip(edges, self.before, strict=True))
        ]
        return run.emit(f"{title}.{self.both.kind}", self.both, parts, f"{title}.{self.both.kind}")

    def fits(self, kinds: Sequence[TensorType], values: IntArray, low: int) -> bool:
        """Whether they give these codes for each pair of codes."""
        first, second = (np.arange(k.format.min, k.format.max + 1) for k in kinds)
        grids = np.meshgrid(first, second, indexing="ij")
        held, types = [], []
        try:
            for grid, kind, ops in zip(grids, kinds, self.before, strict=True):
                codes, kind = _through(ops, grid.reshape(-1, 1), kind)
                held.append(codes)
                types.append(kind)
            (kind,) = self.both.output_types(types)
            carrier = _carrier(self.both, types)
            codes = self.both.run(
                np, [h.astype(carrier.value) for h in held], self.both.prepare(types, carrier)
            )
            codes, _ = _through(self.after, codes, kind)
        except HwsimError:
            return False
        return bool((np.maximum(codes, low).reshape(values.shape) == values).all())


def _through(ops: Sequence[Op], codes: Any, kind: TensorType) -> tuple[Any, TensorType]:
    for op in ops:
        carrier = _carrier(op, [kind])
        codes = op.run(np, [codes.astype(carrier.value)], op.prepare([kind], carrier))
        (kind,) = op.output_types([kind])
    return codes, kind


def _carrier(op: Op, kinds: Sequence[TensorType]) -> Carrier:
    """One that holds all whole numbers of an operator, however large."""
    held = op.carriers(kinds)
    return next(c for c in (Carrier.INT64, Carrier.FLOAT64, *held) if c in held)


def _sums(given: Sequence[QuantizedCodes], fmt: Any, quant: Quant) -> Iterator[PairWay]:
    """A sum in float32, one rounding after the other; whole multiples and a shift."""
    ratios = F32(given[0].scale), F32(given[1].scale)
    out = F32(quant.scale[0])
    shifts = -given[0].zero_point, -given[1].zero_point, -quant.zero_point
    plain: tuple[list[Op], list[Op]] = ([], [])
    yield PairWay(
        plain,
        ScaledAdd(
            ratios=(float(ratios[0]), float(ratios[1])),
            offset=0.0,
            divisor=float(out),
            out=fmt,
            shifts=shifts,
            quant=quant,
        ),
        [],
    )
    each = [F32(r / out) for r in ratios]
    shift = 20 - (int(np.frexp(max(each))[1]) - 1)
    if not 0 < shift < 40:
        return
    before: list[list[Op]] = []
    for g, ratio in zip(given, each, strict=True):
        held = g.codes.format
        factor = int(np.rint(float(ratio) * 2.0**shift))
        values = (np.arange(held.min, held.max + 1) - g.zero_point) * factor
        wide = type(held).holding(int(values.min()), int(values.max()))
        before.append([Table(values=values, out=wide)])
    yield PairWay(
        (before[0], before[1]),
        Add(),
        [
            Requantize(
                scheme=Scheme.SHIFT,
                multiplier=(2.0**-shift,),
                out=fmt,
                zero_point=quant.zero_point,
                rounding=Rounding.RND_INF,
                quant=quant,
            )
        ],
    )


def _products(given: Sequence[QuantizedCodes], fmt: Any, quant: Quant) -> Iterator[PairWay]:
    """A whole product and one rounding."""
    a, b, out = F32(given[0].scale), F32(given[1].scale), F32(quant.scale[0])
    inverse = F32(1) / out
    factors = {float(F32(a * b) / out), float(F32(F32(a * b) * inverse)), float(a * F32(b / out))}
    zeros = given[0].zero_point, given[1].zero_point
    step = Quant((float(given[0].scale) * float(given[1].scale),))
    for factor in sorted(factors):
        rounding = Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=(factor,),
            out=fmt,
            zero_point=quant.zero_point,
            quant=quant,
        )
        yield PairWay(([], []), Mul(zero_points=zeros, quant=step), [rounding])


def cat(run: TorchImporter, call: Call) -> None:
    """Tensors one behind the other, each brought to the scale of the result."""
    name = "qx" if "qx" in call.arguments else "tensors"
    made = call.output
    parts: list[Codes] = []
    place = axis(call, "dim", made.ndim)
    for position, tensor in enumerate(call[name]):
        value = run.values.get(id(tensor))
        if not isinstance(value, QuantizedCodes):
            raise HwsimError(f"{call}: input {position} must be quantized, and computed")
        parts.append(_as_made(run, call, name, value, tensor))
    layouts = [Arrangement.map(codes.layout.shape) for codes in parts]
    held = [run.arranged(c, way, call) for c, way in zip(parts, layouts, strict=True)]
    rank = len(layouts[0].shape)
    along = rank - 1 if place == 0 else place - 1
    edge = run.emit(call.title, Concat(axis=along), [c.edge for c in held], call.title)
    run.hold(call, edge, Arrangement.map(tuple(made.shape[1:])))


def _channels_last(tensor: torch.Tensor) -> bool:
    return bool(tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _as_made(
    run: TorchImporter,
    call: Call,
    name: str,
    value: QuantizedCodes,
    tensor: torch.Tensor,
) -> Codes:
    """An input of a cat with the meaning of its output.

    aten's cat, which takes the first tensor's meaning, runs the same kernel, and complains of each
    other one.
    """
    made = call.output
    scale, zero = float(made.q_scale()), int(made.q_zero_point())
    op = torch.ops.quantized.cat_relu if "relu" in call.name else torch.ops.quantized.cat
    by_channels = call["dim"] == 1 and all(_channels_last(t) for t in call[name])

    def kernel(given: torch.Tensor) -> torch.Tensor:
        shaped, dim = given, call["dim"]
        if given.ndim == 1:  # all codes, or one
            wide = given.reshape(1, 1, 1, -1)
            shaped, dim = (wide.permute(0, 3, 1, 2), 1) if by_channels else (wide, 3)
        found: torch.Tensor = op([shaped], dim, scale, zero)
        return found.reshape(-1) if given.ndim == 1 else found

    one = Call(call.name, call.op, call.place, call.arguments, (kernel(tensor),))
    functions.tabled(run, one, value, kernel, tensor)
    found = run.values[id(one.output)]
    assert isinstance(found, QuantizedCodes)
    return found.codes
