"""Layer, activation, QuantizeLinear, with no quantizer between: thresholds on the exact sum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_nets import Net
from support.onnx_run import run_ort

import hwsim
from hwsim.fixed import Format
from hwsim.frontends.onnx.ort import float_math
from hwsim.frontends.onnx.ort.linear import Linear
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.paths import path
from rtl.layers.table import unsupported

Build = Callable[[Net, str], str]


def number(n: Net, value: float) -> str:
    return n.constant(n.name("c"), np.float32(value))


def silu(n: Net, y: str) -> str:
    return n.do("Mul", y, n.do("Sigmoid", y))


def gelu(n: Net, y: str) -> str:
    """In parts, as PyTorch's exporter writes it."""
    erf = n.do("Erf", n.do("Div", y, number(n, 2**0.5)))
    product = n.do("Mul", y, n.do("Add", erf, number(n, 1)))
    return n.do("Mul", product, number(n, 0.5))


def hard_swish_in_parts(n: Net, y: str) -> str:
    six = n.do("Clip", n.do("Add", y, number(n, 3)), number(n, 0), number(n, 6))
    return n.do("Div", n.do("Mul", y, six), number(n, 6))


def mish(n: Net, y: str) -> str:
    return n.do("Mul", y, n.do("Tanh", n.do("Softplus", y)))


def pooled_after(n: Net, y: str) -> str:
    return n.do("MaxPool", silu(n, y), kernel_shape=[2, 2], strides=[2, 2])


def pooled_before(n: Net, y: str) -> str:
    return silu(n, n.do("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))


def joined(n: Net, y: str) -> str:
    return silu(n, n.do("Concat", y, n.do("Neg", "x_dq"), axis=1))


def residual(n: Net, y: str) -> str:
    return silu(n, n.do("Add", y, n.qdq(n.input("y", (6, 8, 8)), Q("uint8", 0.0625, 117))))


def scaled(n: Net, y: str) -> str:
    factor = n.rng.normal(1, 0.5, (1, 6, 1, 1)).astype(np.float32)
    return silu(n, n.do("Mul", y, n.constant("factor", factor)))


def shifted(n: Net, y: str) -> str:
    """A constant a channel added to a layer that has a bias."""
    offset = n.rng.normal(0, 1, (1, 6, 1, 1)).astype(np.float32)
    return n.do("Relu", n.do("Add", y, n.constant("offset", offset)))


def stretched(n: Net, y: str) -> str:
    return silu(n, n.do("Resize", y, "", number_pair(n)))


def number_pair(n: Net) -> str:
    return n.constant(n.name("c"), np.array([1, 1, 2, 2], np.float32))


def plain(op: str, **attributes: float) -> Build:
    def build(n: Net, y: str) -> str:
        return n.do(op, y, **attributes)

    build.__name__ = op
    return build


FOLLOWED = [silu, gelu, hard_swish_in_parts, pooled_after, pooled_before]
FOLLOWED += [plain(op) for op in ("Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Abs")]
FOLLOWED += [plain("LeakyRelu", alpha=0.1)]
NEAR = [mish, joined, residual, scaled, shifted, stretched]
NEAR += [plain(op) for op in ("Elu", "Softplus", "Selu", "Sin")]


def network(build: Build, dtype: str, out: Q, *, powers: bool, seed: int) -> onnx.ModelProto:
    n = Net(dtype, seed=seed)
    x = n.qdq(n.input("x", (4, 8, 8)), Q(dtype, 0.03125 if powers else 0.03, 3))
    weights = n.weights((6, 4, 3, 3), 6, pow2=powers, dtype="int8").real(n, "w", 0)
    bias = n.rng.integers(-200, 200, 6) / 64 if powers else n.rng.normal(0, 1, 6)
    held = n.constant("bias", bias.astype(np.float32))
    made = build(n, n.do("Conv", x, weights, held, pads=[1, 1, 1, 1]))
    return n.model((n.qdq(made, out), 4, "float32"))


def compared(model: onnx.ModelProto, folder: Path, seed: int) -> tuple[np.ndarray, list[str]]:
    """Differences in steps of the result, and what was said."""
    onnx.save(model, folder / "m.onnx")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(folder / "m.onnx")
    rng = np.random.default_rng(seed)
    feeds = {}
    for port in model.graph.input:
        shape = (150, *[d.dim_value for d in port.type.tensor_type.shape.dim[1:]])
        feeds[port.name] = rng.normal(0, 1.5, shape).astype(np.float32)
    (want,) = run_ort(model, feeds).outputs.values()
    assert unsupported(graph) == ()
    scale = float(graph.types()[graph.outputs[0].tensor].quant.scale[0])
    assert len(np.unique(want)) > 10
    off = np.rint(np.abs(hwsim.emulate(graph, feeds) - want) / scale)
    return off, [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("build", FOLLOWED, ids=lambda build: build.__name__)
def test_a_function_of_a_sum_that_float32_holds_gives_the_runtimes_codes(
    build: Build, tmp_path: Path, seed: int
) -> None:
    """Powers of two: all float32 steps are known, and nothing is said."""
    for dtype, out in (("uint8", Q("uint8", 0.0125, 20)), ("int8", Q("int8", 0.03125, -90))):
        off, said = compared(network(build, dtype, out, powers=True, seed=seed), tmp_path, seed)
        assert not off.any() and not said


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("build", FOLLOWED + NEAR, ids=lambda build: build.__name__)
def test_a_function_of_a_rounded_sum_differs_by_one_step_as_announced(
    build: Build, tmp_path: Path, seed: int
) -> None:
    off, said = compared(
        network(build, "uint8", Q("uint8", 0.03, 20), powers=False, seed=seed), tmp_path, seed
    )
    assert said and off.max() <= 1
    assert off.mean() <= 1e-4


def test_a_matrix_product_of_whole_numbers_is_followed_bit_for_bit(
    tmp_path: Path, seed: int
) -> None:
    """MatMulIntegerToFloat gives exact sums times a number, of which the function is taken."""
    n = Net("uint8", seed=seed)
    x = n.qdq(n.input("x", (48,)), Q("uint8", 0.031, 133))
    y = silu(n, n.do("MatMul", x, n.kernel((48, 20), 1)))
    off, said = compared(n.model((n.qdq(y, Q("uint8", 0.017, 44)), 2, "float32")), tmp_path, seed)
    assert not off.any() and not said


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_product_that_was_saved_as_the_runtimes_own_operator_is_read(
    dtype: str, channels: int, tmp_path: Path, seed: int
) -> None:
    """MatMulIntegerToFloat, and a function of what it gives."""
    n = Net(dtype, seed=seed)
    codes = n.code_input("x", (8,), Q(dtype, 0.03, 5), ends=True)
    held = n.weights((8, 6), channels, pow2=False, dtype="int8").add(n, "w")
    inputs = [codes[0], held[0], codes[1], held[1], codes[2], held[2]]
    y = n.node("MatMulIntegerToFloat", inputs, "y", domain="com.microsoft")
    y = n.qdq(n.do("Sigmoid", y), Q(dtype, 0.004, 3))
    off, said = compared(n.finish(y, rank=2), tmp_path, seed)
    assert not off.any() and not said


def test_a_path_gives_the_codes_of_functions_that_turn(rng: np.random.Generator) -> None:
    """Of reals between those that were tried too; one that misses a turn is caught."""
    for scale, zero, reach in ((0.003, 93, 200.0), (0.05, 20, 30.0), (0.5, 3, 4000.0)):
        by = Linear(Format.uint(8), scale, zero)
        for function in (
            lambda x: x * float_math.sigmoid(x),
            np.sin,
            np.abs,
            float_math.hard_swish,
        ):
            found = path(function, by.codes, (-0.7 * reach, reach))
            x = rng.uniform(-0.7 * reach, reach, 20_000).astype(np.float32)
            wrong = int((found.at(x) != by.codes(function(x))).sum())
            assert wrong <= 2  # last bits that turn
    with pytest.raises(hwsim.HwsimError, match="must turn less often between"):
        path(lambda x: np.sin(x * np.float32(1e4)), by.codes, (-1000, 1000))
