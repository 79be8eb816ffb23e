"""The state of one import: tensors of a program seen so far, and the Graph that grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement, View
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Constant, RawInput, Real, Value
from hwsim.frontends.torch.partition import Partition
from hwsim.frontends.torch.program import ExportedGraph, ProgramNode, SizeName, TensorName
from hwsim.ops.base import IntArray, Shape


class Executor(Enum):
    """Who runs the program."""

    EXECUTORCH = "executorch"  # ExecuTorch with the XNNPACK delegate
    TORCH = "torch"  # PyTorch itself, the program as it is


BATCH = -1
"""The batch among sizes."""


class ProgramImporter(TensorBuilder):
    """A TensorBuilder that knows a program's tensors by name; their first axis is the batch."""

    a_quantizer: ClassVar[str] = "a quantizer (quantize_per_tensor and dequantize_per_tensor)"

    def __init__(
        self,
        program: ExportedGraph,
        executor: Executor,
        views: Mapping[str, View] | None = None,
        grids: Mapping[str, Format] | None = None,
    ) -> None:
        super().__init__(None, views, grids)
        self.place = f"{program.place}: "
        self.program, self.executor = program, executor
        self.values: dict[str, Value] = {n: Constant(a) for n, a in program.constants.items()}
        self.sizes: dict[str, int] = {}  # of open sizes that a node gives: BATCH or a number
        self.batch: int | str = 1  # as the program's sizes have it
        self.whole: frozenset[str] = frozenset()  # nodes that are computed in integers
        self.bias_codes: dict[str, IntArray] = {}  # of a layer's first use, by the bias's name

    @property
    def computes_reals(self) -> bool:
        """Both runtimes go on in float32 with what no quantizer reads."""
        return True

    def divide(self) -> None:
        """Tell what ExecuTorch computes in integers; HwsimError where it cannot run a node."""
        if self.executor is Executor.EXECUTORCH:
            partition = Partition(self.program)
            partition.check(self.program.nodes)
            self.whole = partition.whole

    def read_inputs(self) -> None:
        """The user's tensors, which share the batch."""
        for place, name in enumerate(self.program.inputs):
            meaning = self.program.meaning(name)
            if not meaning.sizes or any(isinstance(size, str) for size in meaning.sizes[1:]):
                raise HwsimError(
                    f"input {name!r} must have a batch axis and then fixed sizes, not "
                    f"{meaning.sizes}"
                )
            if place == 0:
                self.batch = meaning.sizes[0]
            elif meaning.sizes[0] != self.batch:
                raise HwsimError(
                    f"input {name!r} must have a first axis of {self.batch} for the batch, as the "
                    f"first input, not {meaning.sizes[0]}"
                )
            shape = self._bounded(f"input {name!r}", meaning.sizes[1:])
            self.values[name] = RawInput(
                name, meaning.dtype, Arrangement.plain(shape), Arrangement.channels_last(shape)
            )

    @staticmethod
    def _bounded(what: str, sizes: tuple[int | str, ...]) -> Shape:
        shape = tuple(int(size) for size in sizes)
        if (
            min(shape, default=1) < 1
            or np.prod([float(n) for n in shape], initial=1.0) > MAX_ELEMENTS
        ):
            raise HwsimError(
                f"{what} must have from 1 to {MAX_ELEMENTS} elements, not shape {shape}"
            )
        return shape

    def shape(self, node: ProgramNode, name: str) -> Shape:
        """A tensor's sizes without the batch, as the program says them."""
        sizes = self.program.meaning(name).sizes
        if not sizes or sizes[0] != self.batch or any(isinstance(n, str) for n in sizes[1:]):
            raise HwsimError(
                f"{node}: the first axis of its result must be the batch ({self.batch}), and the "
                f"others fixed, not {sizes}"
            )
        return self._bounded(str(node), sizes[1:])

    def named(self, node: ProgramNode, argument: str) -> str:
        """The name of the tensor that is an argument."""
        value = node.args.get(argument)
        if not isinstance(value, TensorName):
            raise HwsimError(f"{node}: its argument {argument!r} must be a tensor, not {value!r}")
        return value.name

    def value(self, node: ProgramNode, argument: str) -> Value:
        """The tensor that is an argument."""
        return self.held(node, self.named(node, argument))

    def held(self, node: ProgramNode, name: str) -> Value:
        """A tensor by its name."""
        if name not in self.values:
            raise HwsimError(f"{node}: tensor {name!r} must be made before it is read")
        return self.values[name]

    def has(self, node: ProgramNode, argument: str) -> bool:
        """Whether an optional tensor is there."""
        return node.args.get(argument) is not None

    def constant(self, node: ProgramNode, argument: str) -> Constant:
        """A constant tensor."""
        value = self.value(node, argument)
        if not isinstance(value, Constant):
            raise HwsimError(f"{node}: its argument {argument!r} must be constant")
        return value

    def number(self, node: ProgramNode, argument: str) -> npt.NDArray[Any] | None:
        """A number, or a constant tensor; None of a computed one."""
        value = node.args.get(argument)
        if isinstance(value, (int, float)):
            return np.array(value)
        held = self.value(node, argument)
        return held.array if isinstance(held, Constant) else None

    def real(self, node: ProgramNode, argument: str) -> Real:
        """A float tensor that codes stand behind."""
        return self.real_of(node, self.named(node, argument))

    def real_of(self, node: ProgramNode, name: str) -> Real:
        """The same by its name."""
        value = self.held(node, name)
        if isinstance(value, Real):
            return value
        what = {Constant: "a constant", Codes: "integer codes"}.get(
            type(value), "an input of the program that nothing quantizes"
        )
        raise HwsimError(
            f"{node}: tensor {name!r} must be quantized (behind quantize_per_tensor and "
            f"dequantize_per_tensor), not {what}"
        )

    def size(self, node: ProgramNode, value: object) -> int:
        """A size among arguments: BATCH, or a number."""
        if isinstance(value, int):
            return value
        if isinstance(value, SizeName) and value.name in self.sizes:
            return self.sizes[value.name]
        raise HwsimError(f"{node}: a size must be a number or the batch, not {value!r}")


Handler = Callable[[ProgramImporter, ProgramNode], None]
