"""The state of one import: ONNX tensors seen so far, and the Graph that grows out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.kernels import FLOAT, Choice, RuntimeKernel
from hwsim.frontends.shared.arrangement import View
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Constant, Real, Value

REALS = Choice(RuntimeKernel.FLOAT, bias_codes=True)
"""What a runtime does that computes all of the model in reals and has no kernels of its own."""


class Importer(TensorBuilder):
    """A TensorBuilder that knows the tensors of an ONNX model by name.

    `choices` are the kernels that the model's runtime takes, None where it has none of its own.
    """

    a_quantizer: ClassVar[str] = "a quantizer (QuantizeLinear and DequantizeLinear, or Quant)"

    def __init__(self, model: OnnxModel, views: Mapping[str, View] | None = None) -> None:
        super().__init__(model.path, views)
        self.model = model
        self.choices: Mapping[str, Choice] | None = None
        self.values: dict[str, Value] = {n: Constant(a) for n, a in model.constants.items()}

    def named(self, error: HwsimError, node: OnnxNode) -> HwsimError:
        """The same error with the file, and the node where it is not named yet."""
        text = str(error)
        place = "" if text.startswith((f"{node}:", "node ")) else f"{node}: "
        return HwsimError(f"{self.model.path}: {place}{text}")

    def value(self, node: OnnxNode, position: int) -> Value:
        """The tensor at an input of `node`."""
        name = node.input(position)
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
        what = {Constant: "a constant", Codes: "integer codes"}.get(
            type(value), "an input of the graph that nothing quantizes"
        )
        raise HwsimError(
            f"{node}: input {position} ({node.input(position)!r}) must be a quantized tensor "
            f"(behind QuantizeLinear and DequantizeLinear, or Quant), not {what}"
        )

    def choice(self, tensor: str) -> Choice:
        """The runtime's kernel for the node that makes an ONNX tensor."""
        if self.choices is None:
            return REALS
        return self.choices.get(tensor, FLOAT)


Handler = Callable[[Importer, OnnxNode], None]
