"""The Graph that grows while the calls of a quantized module are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.float_steps import RowStep
from hwsim.frontends.shared.arrangement import Arrangement, View
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, RawInput
from hwsim.frontends.torch_modules.eager.engines import Engine
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import Op, Quant

FORMATS = {torch.quint8: Format.uint(8), torch.qint8: Format.int(8)}
"""Types of quantized activations."""

Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedCodes:
    """Codes on an edge and what they mean, as PyTorch holds it: `scale` in double precision."""

    codes: Codes
    scale: float
    zero_point: int

    @property
    def layout(self) -> Arrangement:
        """How the tensor lies on its edge."""
        return self.codes.layout

    @property
    def quant(self) -> Quant:
        """Scale and zero point of an edge."""
        return Quant((self.scale,), self.zero_point)

    def moved(self, codes: Codes) -> QuantizedCodes:
        """Other codes of the same meaning."""
        return replace(self, codes=codes)

    def all_codes(self) -> torch.Tensor:
        """A quantized tensor that holds every code once, the lowest first."""
        fmt = self.codes.format
        whole = torch.arange(fmt.min, fmt.max + 1)
        whole = whole.to(torch.int8 if fmt.signed else torch.uint8)
        held: torch.Tensor = torch._make_per_tensor_quantized_tensor(
            whole, self.scale, self.zero_point
        )
        return held


@dataclass(frozen=True, slots=True, eq=False)
class Floats:
    """Reals that are a function of one code each: what `function` gives for a quantized tensor."""

    source: QuantizedCodes
    function: Function
    plain: bool = True  # whether nothing but dequantize was computed


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Reals that a step on whole rows gives of others, at the end of a module."""

    of: Floats
    step: RowStep


Value = QuantizedCodes | Floats | RawInput


class TorchImporter(TensorBuilder):
    """A TensorBuilder that knows the tensors of a run by their ids.

    Layouts are those of the tensors without their first axis, the batch. `asks` says that each
    packed layer is asked for its own kernel, which need not be the engine's.
    """

    a_quantizer = "a quantizer (QuantStub)"

    def __init__(
        self,
        engine: Engine,
        asks: bool = False,
        views: Mapping[str, View] | None = None,
        grids: Mapping[str, Format] | None = None,
    ) -> None:
        super().__init__(None, views, grids)
        self.engine, self.asks = engine, asks
        self.values: dict[int, Value | Rows] = {}
        self.batch = 1
        self.pairs: dict[str, int] = {}  # codes up to which a depthwise layer cannot saturate

    def held(self, call: Call, name: str) -> Value | Rows:
        """What an argument is; HwsimError of a constant."""
        found = self.values.get(id(call[name]))
        if found is None:
            raise HwsimError(f"{call}: {name!r} must depend on the module's input")
        return found

    def value(self, call: Call, name: str) -> Value:
        """The same; HwsimError of rows too, which stand at the end."""
        found = self.held(call, name)
        if isinstance(found, Rows):
            raise HwsimError(f"{call}: a {found.step.op} must stand at the end of the module")
        return found

    def quantized(self, call: Call, name: str) -> QuantizedCodes:
        """An argument that must be quantized."""
        found = self.value(call, name)
        if not isinstance(found, QuantizedCodes):
            raise HwsimError(
                f"{call}: {name!r} must be quantized, not reals; a QuantStub before it, and a "
                "DeQuantStub behind the last quantized step, mark what is"
            )
        return found

    def meant(self, call: Call, scale: float, zero_point: int) -> Quant:
        """A scale and zero point; HwsimError where they are none."""
        if not scale > 0:
            raise HwsimError(f"{call}: its output's scale must be above 0, not {scale}")
        return Quant((scale,), zero_point)

    def give(
        self,
        call: Call,
        ops: list[Op],
        *inputs: Codes,
        layout: Arrangement | None = None,
        place: int = 0,
    ) -> None:
        """Make an output by operators in a row, the first one of these codes."""
        edge = inputs[0].edge
        if ops:
            name = call.title
            first = self.emit(
                name, ops[0], [c.edge for c in inputs], f"{name}.{ops[0].kind}" if ops[1:] else name
            )
            edge = self.chain(name, first, ops[1:], name)
        self.hold(call, edge, layout or inputs[0].layout, place)

    def hold(self, call: Call, edge: str, layout: Arrangement, place: int = 0) -> None:
        """Say that an edge holds an output of a call; HwsimError where its shape is another."""
        made = call.outputs[place]
        if made.dtype not in FORMATS:
            raise HwsimError(f"{call}: it must give quint8 or qint8, not {made.dtype}")
        if tuple(made.shape[1:]) != layout.shape or made.shape[0] != self.batch:
            raise HwsimError(
                f"{call}: it must keep the batch first, and give shape "
                f"{(self.batch, *layout.shape)}, not {tuple(made.shape)}"
            )
        kind = self.types[edge]
        scale, zero = float(made.q_scale()), int(made.q_zero_point())
        self.values[id(made)] = QuantizedCodes(Codes(edge, kind.format, layout), scale, zero)


Handler = Callable[[TorchImporter, Call], None]
