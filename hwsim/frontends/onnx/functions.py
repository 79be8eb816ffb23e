"""Functions of one value, in float32 as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import float_chain
from hwsim.frontends.onnx.constants import powers
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort import exponentials, float_math
from hwsim.frontends.onnx.pairs import of_one_code, of_two_codes, varying
from hwsim.frontends.onnx.two_codes import of_operands
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    RawInput,
    Unary,
)

F32 = np.float32
Function = Callable[[FloatArray], FloatArray]
Maker = Callable[[OnnxNode], Unary]


FUSED_BEHIND = {"Erf": 1, "Tanh": 2}
"""Steps behind which the runtime may take an operator for part of a Gelu, with other last bits."""


def unary(run: Importer, node: OnnxNode) -> None:
    """A function of one value, or of a constant."""
    value, function = run.value(node, 0), _by_runtime(run, node)
    if isinstance(value, Constant):
        run.values[node.output] = Constant(function.function(value.array.astype(np.float32)))
        return
    if isinstance(value, RawInput):
        run.values[node.output] = float_chain.raw_function(node, value, function)
        return
    real = run.real(node, 0)
    if len(real.steps) > FUSED_BEHIND.get(node.op, len(real.steps)):
        function = replace(function, rough=True)
    run.values[node.output] = real.then(function)


def _by_runtime(run: Importer, node: OnnxNode) -> Unary:
    """The function as the model's runtime computes it."""
    own = {} if run.runtime is None else run.runtime.functions
    return own[node.op](node) if node.op in own else function_of(node)


def function_of(node: OnnxNode) -> Unary:
    """The function that a node of ONNX Runtime computes; HwsimError where attributes do not fit."""
    name = node.op.removeprefix("QLinear")
    return (FUNCTIONS | CONTRIBUTED)[name](node)


def exactly(function: Function, *, rising: bool = False, step: str | None = None) -> Maker:
    """A function without attributes whose bits are the runtime's, a `step` of a port perhaps."""
    return lambda node: Unary(str(node), quiet(function), rising=rising, step=step)


def roughly(function: Callable[..., FloatArray], *, rising: bool = False) -> Maker:
    """One whose last bits the runtime's C library or its place in a tensor decide."""
    return lambda node: Unary(str(node), quiet(function), rising=rising, rough=True)


def _rounded(function: Callable[..., FloatArray], *, rising: bool = False) -> Maker:
    """One that is rounded to float32 once here, while the runtime's last bits are others."""
    return roughly(lambda x: function(x.astype(np.float64)).astype(np.float32), rising=rising)


def quiet(function: Function) -> Function:
    """Codes that have no finite value saturate, or get the lowest code, as they do there."""

    def silent(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return function(x)

    return silent


def _leaky_relu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 0.01)
    return Unary(str(node), partial(float_math.leaky_relu, alpha=alpha), rising=alpha >= 0)


def _hard_sigmoid(node: OnnxNode) -> Unary:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    function = partial(float_math.hard_sigmoid, alpha=alpha, beta=beta)
    return Unary(str(node), function, rising=alpha >= 0)


def _thresholded_relu(node: OnnxNode) -> Unary:
    alpha = F32(node.real("alpha", 1.0))
    return Unary(str(node), lambda x: np.where(x > alpha, x, F32(0)), rising=bool(alpha >= 0))


def _elu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.0)
    function = quiet(partial(exponentials.elu, alpha=alpha))
    return Unary(str(node), function, rising=alpha >= 0, rough=alpha != 0)


def _celu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.0)
    if alpha == 0:
        raise HwsimError(f"{node}: its 'alpha' must not be 0")
    function = quiet(partial(exponentials.celu, alpha=alpha))
    return Unary(str(node), function, rising=alpha > 0, rough=True)


def _selu(node: OnnxNode) -> Unary:
    alpha = node.real("alpha", 1.67326319217681884765625)
    gamma = node.real("gamma", 1.05070102214813232421875)
    function = quiet(partial(exponentials.selu, alpha=alpha, gamma=gamma))
    return Unary(str(node), function, rising=alpha >= 0 and gamma >= 0, rough=True)


def _gelu(node: OnnxNode) -> Unary:
    """Of ONNX and of com.microsoft, which has no approximation."""
    approximation = node.attributes.get("approximate", "none")
    if approximation not in ("none", "tanh"):
        raise HwsimError(f"{node}: 'approximate' must be none or tanh, not {approximation!r}")
    tangent = approximation == "tanh"
    function = exponentials.gelu_tanh if tangent else exponentials.gelu
    return Unary(str(node), quiet(function), rising=False)


def _fast_gelu(node: OnnxNode) -> Unary:
    if node.input(1):
        raise HwsimError(f"{node}: its bias must be added by a node of its own")
    return Unary(str(node), quiet(exponentials.gelu_tanh), rising=False)


def _quick_gelu(node: OnnxNode) -> Unary:
    function = partial(exponentials.quick_gelu, alpha=node.real("alpha", 1.702))
    return Unary(str(node), quiet(function), rising=False)


def _swish(node: OnnxNode) -> Unary:
    """A function of ONNX, which the runtime takes apart."""
    function = partial(exponentials.quick_gelu, alpha=node.real("alpha", 1.0))
    return Unary(str(node), quiet(function), rising=False)


def _mish(x: FloatArray) -> FloatArray:
    return x * float_math.tanh(exponentials.softplus(x))


FUNCTIONS: dict[str, Maker] = {
    "Abs": exactly(np.abs),
    "Acos": _rounded(np.arccos),
    "Acosh": _rounded(np.arccosh),
    "Asin": _rounded(np.arcsin),
    "Asinh": _rounded(np.arcsinh, rising=True),
    "Atan": _rounded(np.arctan, rising=True),
    "Atanh": _rounded(np.arctanh),
    "Ceil": exactly(np.ceil, rising=True),
    "Celu": _celu,
    "Cos": _rounded(np.cos),
    "Cosh": _rounded(np.cosh),
    "Elu": _elu,
    "Erf": exactly(exponentials.erf, rising=True),
    "Exp": exactly(exponentials.exp, rising=True),
    "Floor": exactly(np.floor, rising=True),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": exactly(float_math.hard_swish),
    "LeakyRelu": _leaky_relu,
    "Log": roughly(exponentials.log),
    "Mish": roughly(_mish),
    "Neg": exactly(np.negative),
    "Reciprocal": exactly(lambda x: F32(1) / x),
    "Relu": lambda node: Unary(str(node), lambda x: np.maximum(x, F32(0)), rising=True, low=0.0),
    "Round": exactly(np.rint, rising=True),
    "Selu": _selu,
    "Sigmoid": exactly(float_math.sigmoid, rising=True, step="sigmoid"),
    "Sign": exactly(np.sign, rising=True),
    "Sin": _rounded(np.sin),
    "Sinh": _rounded(np.sinh, rising=True),
    "Softplus": roughly(exponentials.softplus, rising=True),
    "Softsign": exactly(exponentials.softsign, rising=True),
    "Sqrt": exactly(np.sqrt),
    "Swish": _swish,
    "Tan": _rounded(np.tan),
    "Tanh": exactly(float_math.tanh, rising=True, step="tanh"),
    "ThresholdedRelu": _thresholded_relu,
}
"""What makes the function of each operator of ONNX."""

CONTRIBUTED: dict[str, Maker] = {
    "FastGelu": _fast_gelu,
    "Gelu": _gelu,
    "QuickGelu": _quick_gelu,
}
"""The same for ONNX Runtime's own operators."""


def prelu(run: Importer, node: OnnxNode) -> None:
    """PRelu with one slope, or several that broadcast to the tensor, or computed ones."""
    if not isinstance(run.value(node, 1), Constant):
        found = of_operands(run, node, [run.real(node, 0), run.real(node, 1)], _bent)
        if found is None:
            raise HwsimError(f"{node}: computed slopes and what they bend must be narrow codes")
        run.values[node.output] = found
        return
    real, slope = run.real(node, 0), run.constant(node, 1).array.astype(F32)
    if not np.isfinite(slope).all():
        raise HwsimError(f"{node}: its slopes must be finite")
    if slope.size == 1:
        step = Unary(str(node), partial(_bent, slope=slope.ravel()[0]), rising=bool(slope >= 0))
        run.values[node.output] = real.then(step)
        return
    run.values[node.output] = varying(run, node, real, slope, _bent)


def _bent(x: FloatArray, slope: FloatArray) -> FloatArray:
    out: FloatArray = np.where(x > 0, x, x * slope)
    return out


def power(run: Importer, node: OnnxNode) -> None:
    """Pow by a constant, or of one."""
    first, second = run.value(node, 0), run.value(node, 1)
    if isinstance(first, Constant) and isinstance(second, Constant):
        run.values[node.output] = Constant(powers(node, first.array, second.array))
        return
    if not isinstance(first, Constant) and not isinstance(second, Constant):
        reals = run.real(node, 0), run.real(node, 1)
        found = of_one_code(node, *reals) or of_two_codes(run, node, *reals)
        if found is None:
            raise HwsimError(f"{node}: its base or its exponent must be constant, or both narrow")
        run.values[node.output] = found
        return
    place = 0 if isinstance(second, Constant) else 1
    given = run.constant(node, 1 - place).array
    if given.size != 1 or not np.isfinite(given).all():
        raise HwsimError(f"{node}: its base or its exponent must be one finite number")
    value = float(given.ravel()[0])
    if place == 0:
        shape = (run.model.batch or 1, *run.real(node, 0).layout.shape)
        # The runtime has squares and cubes for many elements that meet one exponent. It looks at as
        # many last axes as the exponent has, and at one at least.
        cubes = run.runtime is None or run.runtime.cubes
        multiplies = cubes and value in (2.0, 3.0) and max(shape[-max(given.ndim, 1) :]) > 1
        turns = 1 in shape[1:] and sum(n.op == "Transpose" for n in run.model.nodes) > 1
        function: Function = partial(exponentials.power, exponent=value, multiplies=multiplies)
        rough = value not in (0.0, 1.0) and (not multiplies or turns)
    else:
        function, rough = partial(_power_of, base=value), True
    step = Unary(str(node), quiet(function), rising=False, rough=rough)
    run.values[node.output] = run.real(node, place).then(step)


def _power_of(x: FloatArray, base: float) -> FloatArray:
    out: FloatArray = np.power(base, x.astype(np.float64)).astype(np.float32)
    return out
