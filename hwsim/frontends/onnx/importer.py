"""The state of one import: ONNX tensors seen so far, and the Graph that grows out of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.float_steps import PortStep
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.kernels import FLOAT, Choice, RuntimeKernel
from hwsim.frontends.onnx.runtime import Runtime
from hwsim.frontends.shared.arrangement import View
from hwsim.frontends.shared.float_sums import note_last_bits
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Constant, Level, RawInput, Real, Value
from hwsim.ops import Quant, TensorType

UNQUANTIZED = Format(True, 8, 24)
"""Of an input of reals that a QONNX model quantizes nowhere."""
UNQUANTIZED_WIDE = Format(True, 12, 20)
"""Of one that another model computes with as it is, pixels too."""


def annotated(datatype: str) -> tuple[Format, tuple[int, int] | None] | None:
    """The format and the ends of the whole numbers that a QONNX annotation names; None for reals.

    `BIPOLAR` is -1 and 1 (0 is never met), `FIXED<8,4>` has 4 bits before the binary point.
    """
    known: dict[str, tuple[Format, tuple[int, int] | None]] = {
        "BINARY": (Format.uint(1), None),
        "BIPOLAR": (Format.int(2), (-1, 1)),
        "TERNARY": (Format.int(2), (-1, 1)),
    }
    found = re.fullmatch(r"(U?)INT(\d{1,2})|FIXED<(\d{1,2}),(\d{1,2})>", datatype)
    if datatype in known or found is None:
        return known.get(datatype)
    unsigned, bits, wide, whole = found.groups()
    fmt = Format(True, int(whole), int(wide) - int(whole)) if wide else None
    fmt = fmt or Format(not unsigned, int(bits))
    return (fmt, None) if 1 <= fmt.width <= MOST_ANNOTATED else None


MOST_ANNOTATED = 24  # bits of an annotated input, all exact in float32

REALS = Choice(RuntimeKernel.FLOAT, bias_codes=True)
"""What a runtime does that computes all of the model in reals and has no kernels of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which axis of a model's tensor holds the batch, and `inner` elements of it for each sample.

    That axis counts (outer, batch, inner), as (batch * heads) does after a Reshape.
    """

    axis: int
    inner: int


class Importer(TensorBuilder):
    """A TensorBuilder that knows the tensors of an ONNX model by name.

    `choices` are the kernels that the model's `runtime` takes, None where it has none of its own.
    `places` are of tensors whose batch is not the first axis; their layouts have all of its axes.
    """

    a_quantizer: ClassVar[str] = "a quantizer (QuantizeLinear and DequantizeLinear, or Quant)"

    def __init__(
        self,
        model: OnnxModel,
        views: Mapping[str, View] | None = None,
        grids: Mapping[str, Format] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(model.path, views, grids)
        self.model, self.runtime = model, runtime
        self.choices: Mapping[str, Choice] | None = None
        self.values: dict[str, Value] = {n: Constant(a) for n, a in model.constants.items()}
        self.places: dict[str, Place] = {}

    @property
    def computes_reals(self) -> bool:
        """ONNX Runtime does, and it is announced; QONNX's executor is followed node by node."""
        return self.choices is not None

    @property
    def moves(self) -> bool:
        """Whether the runtime moves quantizers and Transposes about."""
        return self.runtime is not None and self.runtime.moves

    @property
    def in_turn(self) -> bool:
        """Whether the runtime's averages add row-major, one after the other."""
        return self.runtime is not None and self.runtime.in_turn

    def note(self, name: str, text: str, **values: object) -> None:
        """Warn with `values` in a text that names the `{runtime}` and says how it `{adds}`."""
        known = self.runtime
        who = ("ONNX Runtime", "adds in float32") if known is None else (known.name, known.adds)
        self.warn(name, text.format(runtime=who[0], adds=who[1], **values))

    def named(self, error: HwsimError, node: OnnxNode) -> HwsimError:
        """The same error with the file, and the node where it is not named yet."""
        text = str(error)
        place = "" if text.startswith((f"{node}:", "node ")) else f"{node}: "
        return HwsimError(f"{self.model.path}: {place}{text}")

    def value(self, node: OnnxNode, position: int) -> Value:
        """The tensor at an input of `node`."""
        name = node.input(position)
        if not name:
            raise HwsimError(f"{node}: input {position} must be there")
        if name not in self.values:
            raise HwsimError(f"{node}: input {position} must be a known tensor, not {name!r}")
        return self.values[name]

    def constant(self, node: OnnxNode, position: int) -> Constant:
        """A constant input."""
        value = self.value(node, position)
        if not isinstance(value, Constant):
            raise HwsimError(
                f"{node}: input {position} ({node.input(position)!r}) must be constant"
            )
        return value

    def real(self, node: OnnxNode, position: int) -> Real:
        """A float input that codes stand behind."""
        value = self.value(node, position)
        if isinstance(value, Real):
            return value
        bare = isinstance(value, RawInput) and value.name not in self.inputs
        if isinstance(value, RawInput) and bare and value.dtype == "float32":
            return self._unquantized(node.input(position), value)
        what = {Constant: "a constant", Codes: "integer codes"}.get(
            type(value), "an input of the graph that nothing quantizes"
        )
        raise HwsimError(
            f"{node}: input {position} ({node.input(position)!r}) must be a quantized tensor "
            f"(behind QuantizeLinear and DequantizeLinear, or Quant), not {what}"
        )

    def is_annotated(self, raw: RawInput) -> bool:
        """Whether a QONNX model says which whole numbers an input holds."""
        known = annotated(self.model.datatypes.get(raw.name, "")) is not None
        return known and self.choices is None

    def _unquantized(self, name: str, raw: RawInput) -> Real:
        """An input that the model takes as it is, rounded as finely as a stream can have it.

        Where QONNX's annotations say what whole numbers it holds, these are its codes.
        """
        rule = {"rounding": Rounding.RND_CONV, "overflow": Overflow.SAT}
        held = annotated(self.model.datatypes.get(raw.name, ""))
        if held is not None:
            fmt, ends = held
            codes = self.input_codes(raw, TensorType((), fmt, None, ends), rule, raw.name)
            known = Real(Level(codes, 2.0**-fmt.frac_bits, 0), codes.layout)
            self.values[name] = known
            return known
        if self.choices is None:
            fmt, kind = UNQUANTIZED, TensorType((), UNQUANTIZED)
        else:  # whole numbers with a scale, as all edges of such a model
            fmt, rule = UNQUANTIZED_WIDE, {}
            kind = TensorType((), Format.int(fmt.width), Quant((2.0**-fmt.frac_bits,)))
        codes = self.input_codes(raw, kind, rule, raw.name)
        reals = Real(Level(codes, 2.0**-fmt.frac_bits, 0, fine=self.computes_reals), codes.layout)
        self.values[name] = reals
        limit = 2.0 ** (fmt.int_bits - 1)
        behind = (
            "QONNX's executor rounds the sums that it makes of them to float32"
            if self.choices is None
            else "{runtime} goes on in float32, so that about one code in 50,000 (8-bit result) "
            "may differ by one step"
        )
        self.note(
            raw.name,
            f"nothing quantizes this input of the graph: its reals are rounded to {fmt} "
            f"(from {-limit:.0f} to {limit:.0f}, in steps of 2**-{fmt.frac_bits}), and {behind}",
        )
        return reals

    def shown(self, real: Real) -> Real:
        """A tensor at the end of the model, as the runtime makes reals of it."""
        return real

    def note_end(self, real: Real) -> None:
        """Say what a runtime that is followed node by node does to reals at the end otherwise."""
        note_last_bits(self, real)

    def note_port(self, steps: tuple[PortStep, ...], reals: tuple[float, ...] | None) -> None:
        """Say what such a runtime does to what an output's port computes otherwise: nothing."""

    def choice(self, tensor: str) -> Choice:
        """The runtime's kernel for the node that makes an ONNX tensor."""
        if self.choices is None:
            return REALS
        return self.choices.get(tensor, FLOAT)


class ExactImporter(Importer):
    """One of a model that is ours: its sums are whole numbers, and no runtime rounds them."""

    exact_sums = True


Handler = Callable[[Importer, OnnxNode], None]
