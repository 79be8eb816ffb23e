"""Edges of a Graph in a QDQ file: as integer tensors, as what DequantizeLinear makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.recorded import FLOAT32, INT64, ROWS, Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import TensorType

HOLDERS = {(True, 8): "int8", (False, 8): "uint8", (True, 16): "int16", (False, 16): "uint16"}


def holder(kind: TensorType) -> str | None:
    """The type in which QuantizeLinear gives the codes of an edge; None where there is none."""
    width = 8 if kind.format.width <= 8 else 16
    fits = kind.format.width <= 16 and len(kind.scales()) == 1
    fits = fits and 2.0**-120 < kind.scales()[0] < 2.0**120
    return HOLDERS[kind.format.signed, width] if fits else None


@dataclass(slots=True)
class QdqDraft:
    """What has been written so far, and by what names each edge is known.

    Maps may lie with their channels innermost, as in the Graph, or first, as ONNX's windows read
    them: `ints` holds the integer tensors of an edge by whether channels are first, `whole` its
    codes in int64, channels last, `sums` the reals of what nothing rounds. `done` are nodes that
    another took in, `islands` those that are written as integer operators.
    """

    graph: Graph
    draft: OnnxDraft
    rec: Recorder
    ints: dict[str, dict[bool, str]] = field(default_factory=dict)
    whole: dict[str, Recorded] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    islands: list[str] = field(default_factory=list)
    _reals: dict[tuple[str, bool, int], str] = field(default_factory=dict)

    def kind(self, edge: str) -> TensorType:
        """The type of an edge."""
        return self.graph.types()[edge]

    def held(self, edge: str) -> str:
        """The type of its integer tensor; HwsimError where it can have none."""
        found = holder(self.kind(edge))
        if found is None:
            raise HwsimError(
                f"edge {edge!r} must have at most 16 bits and one scale, not "
                f"{self.kind(edge).format} and {len(self.kind(edge).scales())}"
            )
        return found

    def scale(self, edge: str) -> np.float32:
        """The reals of one step of its codes."""
        return np.float32(self.kind(edge).scales()[0])

    def only_reader(self, edge: str) -> Node | None:
        """The one node that reads an edge, where nothing else needs it."""
        after = self.graph.consumers(edge)
        shown = {port.tensor for port in self.graph.outputs} | {s.next for s in self.graph.state}
        return after[0] if len(after) == 1 and edge not in shown else None

    def lies_first(self, edge: str) -> bool:
        """Whether its channels are first in the tensor that there is."""
        return edge in self.ints and False not in self.ints[edge]

    def integer(self, edge: str, *, first: bool = False) -> str:
        """Its integer tensor."""
        tensors = self.ints.setdefault(edge, {})
        if not tensors:
            codes = self.rec.tensor(self.whole[edge], np.dtype(self.held(edge)))
            tensors[False] = codes.name
        if first not in tensors:
            rank = len(self.kind(edge).shape)
            order = [0, rank, *range(1, rank)] if first else [0, *range(2, rank + 1), 1]
            given = tensors[not first]
            tensors[first] = given if rank < 2 else self.draft.add("Transpose", [given], perm=order)
        return tensors[first]

    def codes(self, edge: str) -> Recorded:
        """Its codes in int64, channels last."""
        if edge not in self.whole:
            shape, held = (ROWS, *self.kind(edge).shape), np.dtype(self.held(edge))
            tensor = Recorded(self.integer(edge), shape, held, self.rec)
            self.whole[edge] = self.rec.tensor(tensor, INT64)
        return self.whole[edge]

    def real(self, edge: str, *, first: bool = False, zero: int | None = None) -> str:
        """What DequantizeLinear makes of it, by its own zero point or another."""
        kind = self.kind(edge)
        key = edge, first, kind.zero_point if zero is None else zero
        if key not in self._reals:
            given = [self.integer(edge, first=first), *meaning(self.draft, kind, zero)]
            self._reals[key] = self.draft.add("DequantizeLinear", given)
        return self._reals[key]

    def real_tensor(self, edge: str) -> Recorded:
        """The same as a recorded tensor, channels last."""
        return Recorded(self.real(edge), (ROWS, *self.kind(edge).shape), FLOAT32, self.rec)

    def quantize(
        self, edge: str, real: str, *, first: bool = False, zero: int | None = None, low: int = 0
    ) -> None:
        """Have an edge be what `quantize` makes of reals."""
        self.held(edge)
        made = quantize(self.draft, real, self.kind(edge), zero=zero, low=low)
        self.ints[edge] = {first: made}


def meaning(draft: OnnxDraft, kind: TensorType, zero: int | None = None) -> list[str]:
    """Scale and zero point of codes, the type's own or another zero point."""
    code = kind.zero_point if zero is None else zero
    scale = np.asarray(np.float32(kind.scales()[0]))
    return [draft.constant(scale), draft.constant(np.array(code, str(holder(kind))))]


def quantize(
    draft: OnnxDraft, real: str, kind: TensorType, *, zero: int | None = None, low: int = 0
) -> str:
    """QuantizeLinear of reals, within the format; `low` is its least code if it is another."""
    given = meaning(draft, kind, zero)
    made = draft.add("QuantizeLinear", [real, *given])
    info, ends = np.iinfo(str(holder(kind))), (low or kind.format.min, kind.format.max)
    if ends == (info.min, info.max):
        return made
    code, scale = kind.zero_point if zero is None else zero, np.float32(kind.scales()[0])
    bounds = [draft.constant(np.asarray(np.float32(end - code) * scale)) for end in ends]
    back = draft.add("DequantizeLinear", [made, *given])
    return draft.add("QuantizeLinear", [draft.add("Clip", [back, *bounds]), *given])


def weights_of(
    draft: OnnxDraft, codes: Any, scales: npt.NDArray[np.float32], axis: int, kind: str = ""
) -> str:
    """DequantizeLinear of constant codes, by one scale or one a channel along an axis.

    Without a `kind` the codes have the narrowest type that holds them.
    """
    low, high = int(codes.min()), int(codes.max())
    kinds = ("int8", "uint8", "int16", "uint16", "int32")
    kind = kind or next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    scale = np.asarray(scales[0] if len(scales) == 1 else scales)
    held = {"codes": codes.astype(kind), "scale": scale, "zero": np.zeros(scale.shape, kind)}
    if kind == "int32":
        del held["zero"]
    # Names of their own: ONNX Runtime's optimizers take constants that several nodes share for one.
    given = [draft.constant(array, f"{draft.now}/{kind}_{name}") for name, array in held.items()]
    if len(scales) == 1:
        return draft.add("DequantizeLinear", given)
    return draft.add("DequantizeLinear", given, axis=axis)
