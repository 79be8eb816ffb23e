"""Edges of a Graph in a QONNX file: float32 tensors of whole numbers, less their zero points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Rounding
from hwsim.graph import Graph
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.recorded import FLOAT32, ROWS, Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import TensorType

DOMAIN = "qonnx.custom_op.general"
EXACT = 1 << 24
"""Whole numbers below it, times a power of two, are exact in float32."""

MODES = {
    Rounding.RND_CONV: "ROUND",
    Rounding.TRN: "FLOOR",
    Rounding.TRN_ZERO: "DOWN",
    Rounding.RND_INF: "HALF_UP",
    Rounding.RND_ZERO: "HALF_DOWN",
    Rounding.CEIL: "CEIL",
    Rounding.UP: "UP",
}
"""What QONNX's executor calls a rounding. It has none of ties to one side."""


@dataclass(slots=True)
class QonnxDraft:
    """What has been written so far, and the tensors of each edge by whether channels are first.

    A tensor holds `(code - zero point) * 2**-fraction bits`: reals where the format is a power of
    two, and whole numbers, for scales at the ends to make reals of, where it is not.
    """

    graph: Graph
    draft: OnnxDraft
    rec: Recorder
    tensors: dict[str, dict[bool, str]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def kind(self, edge: str) -> TensorType:
        """The type of an edge."""
        return self.graph.types()[edge]

    def put(self, edge: str, name: str, *, first: bool = False) -> None:
        """Have an edge be a tensor; HwsimError where float32 does not hold its numbers."""
        kind = self.kind(edge)
        most = max(abs(kind.lo - kind.zero_point), abs(kind.hi - kind.zero_point))
        if most >= EXACT:
            raise HwsimError(
                f"its numbers must lie below 2**24, which QONNX's float32 holds, not reach {most}"
            )
        self.tensors[edge] = {first: name}
        inner, outer = kind.shape[:-1], kind.shape[-1:]
        self.draft.shapes[name] = (1, *outer, *inner) if first else (1, *kind.shape)

    def lies_first(self, *edges: str) -> bool:
        """Whether the channels of all edges are first in the tensors that there are."""
        return all(False not in self.tensors[edge] for edge in edges)

    def value(self, edge: str, *, first: bool = False) -> str:
        """The tensor of an edge."""
        known = self.tensors[edge]
        if first not in known:
            rank, given = len(self.kind(edge).shape), known[not first]
            order = [0, rank, *range(1, rank)] if first else [0, *range(2, rank + 1), 1]
            known[first] = given if rank < 2 else self.draft.add("Transpose", [given], perm=order)
        return known[first]

    def tensor(self, edge: str) -> Recorded:
        """The same as a recorded tensor, channels last."""
        return Recorded(self.value(edge), (ROWS, *self.kind(edge).shape), FLOAT32, self.rec)

    def constant(self, values: Any) -> str:
        """A constant of float32."""
        return self.draft.constant(np.asarray(values, np.float32))

    def by_channel(self, values: npt.NDArray[Any], edge: str, *, first: bool) -> str:
        """Constants, one or one a channel, that broadcast over an edge's tensor."""
        rank = len(self.kind(edge).shape)
        flat = np.asarray(values, np.float32).reshape(-1)
        return self.constant(flat.reshape(-1, *(1,) * (rank - 1)) if first else flat)

    def quant(
        self, real: str, step: float, bits: int, *, signed: bool, narrow: bool = False, mode: str
    ) -> str:
        """A Quant with zero point 0."""
        if bits >= 24 + signed:
            raise HwsimError(f"a Quant must have at most 24 bits, not {bits}")
        return self.draft.add(
            "Quant",
            [real, self.constant(step), self.constant(0), self.constant(bits)],
            domain=DOMAIN,
            signed=int(signed),
            narrow=int(narrow),
            rounding_mode=mode,
        )

    def again(self, real: str, kind: TensorType) -> str:
        """A Quant that leaves the numbers of a type as they are, and says what they are."""
        ends = kind.lo - kind.zero_point, kind.hi - kind.zero_point
        bits = max(abs(end).bit_length() for end in ends) + 1
        return self.quant(real, unit(kind), max(bits, 2), signed=True, mode="ROUND")

    def weights(self, codes: npt.NDArray[np.int64], step: float) -> str:
        """A Quant of constant reals, in as many bits as they need."""
        low, high = int(codes.min()), int(codes.max())
        bits = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length(), 1) + 1
        held = self.draft.constant((codes * step).astype(np.float32), f"{self.draft.now}/weights")
        return self.quant(held, step, bits, signed=True, mode="ROUND")

    def thresholds(
        self, edge: str, values: npt.NDArray[Any], *, step: float, bias: float, first: bool
    ) -> str:
        """A MultiThreshold of an edge's numbers; `values` has a row for all or one a channel."""
        if (values[:1] == values).all():
            values = values[:1]
        rank = len(self.kind(edge).shape)
        layout = {1: "NC", 2: "NCW", 3: "NCHW"} if first else {1: "NC", 2: "NWC", 3: "NHWC"}
        if rank not in layout and len(values) > 1:
            raise HwsimError("thresholds for each channel must be of tensors of at most three axes")
        return self.draft.add(
            "MultiThreshold",
            [self.value(edge, first=first), self.constant(values)],
            domain=DOMAIN,
            out_dtype="FLOAT32",
            out_scale=step,
            out_bias=bias,
            data_layout=layout.get(rank, "NC"),
        )


def unit(kind: TensorType) -> float:
    """What one step of the codes is in the tensors of an edge."""
    return float(2.0**-kind.format.frac_bits)


def same_zero(zero: int, kind: TensorType) -> None:
    """Raise HwsimError unless an operator takes off the zero point that its input has."""
    if zero != kind.zero_point:
        raise HwsimError(f"its zero point must be its input's {kind.zero_point}, not {zero}")


def broadcast(sheet: QonnxDraft, edges: Sequence[str], rank: int) -> list[str]:
    """Tensors of edges with as many axes, channels last, or first where all lie so."""
    first = sheet.lies_first(*edges) and len({sheet.kind(edge).shape for edge in edges}) == 1
    if first or all(len(sheet.kind(edge).shape) == rank for edge in edges):
        return [sheet.value(edge, first=first) for edge in edges]
    shaped = []
    for edge in edges:
        shape = sheet.kind(edge).shape
        filled = (ROWS, *(1,) * (rank - len(shape)), *shape)
        shaped.append(sheet.rec.tensor(sheet.rec.reshape(sheet.tensor(edge), filled), FLOAT32).name)
    return shaped
