"""Convolution along one axis or two: strides, padding, groups, depthwise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hwsim.fixed import Array, Namespace
from hwsim.ops.accumulate import Steps, add_bias
from hwsim.ops.base import Carrier, Constants, TensorType, Work, require
from hwsim.ops.weighted import Weighted
from hwsim.ops.window import Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Conv(Weighted):
    """Cross-correlation; weights (kernel axes, in / groups, out channels).

    Output channel o belongs to group `o // (out / groups)`. Positions outside the map hold
    `zero_point`, that is real zero. Groups equal to the input's channels make it depthwise.
    """

    rank: ClassVar[int]
    window: Window
    groups: int = 1

    def __post_init__(self) -> None:
        super(Conv, self).__post_init__()
        require(
            self.weights.ndim == self.rank + 2 and self.weights.shape[:-2] == self.window.kernel,
            f"convolution weights must have shape ({self.axes}, in / groups, out) "
            f"with kernel {self.window.kernel}, not {self.weights.shape}",
        )
        require(
            self.groups >= 1 and self.outputs % self.groups == 0,
            f"groups must divide the {self.outputs} output channels, not {self.groups}",
        )

    @property
    @abstractmethod
    def axes(self) -> str:
        """What the kernel's axes are called."""

    @property
    def depthwise(self) -> bool:
        """Whether each output channel sees one input channel, and each of them one output."""
        return self.groups > 1 and self.weights.shape[-2] == 1 and self.outputs == self.groups

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (..., c) becomes (the window's positions, out)."""
        (x,) = inputs
        axes = self.window.output(x)
        channels = self.weights.shape[-2] * self.groups
        require(
            x.channels == channels,
            f"a convolution's input must have {channels} channels, not {x.channels}",
        )
        return self.sum_type(x, (*axes, self.outputs))

    def reach(self, x: TensorType) -> TensorType:
        """Padding brings its code, which may lie outside the proven range of the map."""
        if not any(self.window.padding):
            return x
        return x.with_range(min(x.lo, self.zero_point), max(x.hi, self.zero_point))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """As for every weighted layer; (groups, terms, out) where groups are not depthwise."""
        constants = dict(super(Conv, self).prepare(inputs, carrier))
        if self.groups > 1 and "steps" in constants:
            return self._prepare_steps(constants["steps"], carrier)
        if self.groups > 1 and not self.depthwise:
            per_group = self.outputs // self.groups
            split = constants["w"].reshape(-1, self.groups, per_group)
            constants["w"] = split.transpose(1, 0, 2).copy()
        return constants

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Sums over the gathered windows; elementwise for depthwise."""
        padded = self.window.pad(xp, xs[0], self.zero_point)
        shape = (padded.shape[0], *self.window.positions(padded.shape[1:-1]), self.outputs)
        if self.groups == 1:
            return xp.reshape(self.accumulate(xp, self.window.gather(xp, padded), k), shape)
        views = list(self.window.views(padded))
        if "steps" in k:
            return xp.reshape(self._run_steps(xp, views, k), shape)
        if self.depthwise:
            weights = k["w"]
            acc = views[0] * weights[0, :]
            for position, view in enumerate(views[1:], start=1):
                acc = acc + view * weights[position, :]
            return add_bias(xp, acc, k["b"])
        channels = padded.shape[-1]
        split = (-1, self.groups, channels // self.groups)
        columns = xp.concat([xp.reshape(view, split) for view in views], axis=2)
        acc = xp.matmul(xp.permute_dims(columns, (1, 0, 2)), k["w"])
        acc = xp.reshape(xp.permute_dims(acc, (1, 0, 2)), (-1, self.outputs))
        return xp.reshape(add_bias(xp, acc, k["b"]), shape)

    def _prepare_steps(self, steps: Steps, carrier: Carrier) -> Constants:
        """The steps of each group, their constants named `name/group`."""
        constants: dict[str, Any] = {"steps": []}
        size = self.outputs // self.groups
        for group in range(self.groups):
            part = steps.part(slice(group * size, (group + 1) * size))
            constants["steps"].append(part)
            made = part.prepare(carrier)
            constants |= {f"{name}/{group}": value for name, value in made.items()}
            constants["names"] = list(made)
        return constants

    def _run_steps(self, xp: Namespace, views: Sequence[Array], k: Constants) -> Array:
        """Sums (windows, outputs), one group after the other."""
        size, parts = self.weights.shape[-2], []
        for group, steps in enumerate(k["steps"]):
            codes = slice(group * size, (group + 1) * size)
            columns = xp.concat([xp.reshape(v[..., codes], (-1, size)) for v in views], axis=1)
            constants = {name: k[f"{name}/{group}"] for name in k["names"]}
            parts.append(steps.run(xp, columns, constants))
        return xp.concat(parts, axis=1)

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Every weight is used once at every output position."""
        out = self.infer(inputs)
        return Work(out.size // self.outputs * self.weights.size, self.weights.size, out.size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Conv1D(Conv):
    """Along one axis; weights (kernel length, in / groups, out channels)."""

    kind: ClassVar[str] = "conv1d"
    rank: ClassVar[int] = 1

    @property
    def axes(self) -> str:
        """One."""
        return "kernel length"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Conv2D(Conv):
    """Along two axes; weights (kernel height, kernel width, in / groups, out channels)."""

    kind: ClassVar[str] = "conv2d"
    rank: ClassVar[int] = 2

    @property
    def axes(self) -> str:
        """Two."""
        return "kernel height, kernel width"


CONVOLUTIONS: dict[int, type[Conv]] = {conv.rank: conv for conv in (Conv1D, Conv2D)}
"""A convolution for each number of axes that a window can have."""
