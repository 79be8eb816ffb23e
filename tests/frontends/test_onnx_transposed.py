"""ONNX's ConvTranspose: the runtime's codes where its floats are exact, hardly others elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_compare import load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, feeds
from support.onnx_run import session_of

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
X = (4, 5, 6)


def model(
    n: Net,
    shape: tuple[int, ...] = X,
    kernel: tuple[int, ...] = (3, 3),
    outputs: int = 3,
    *,
    bias: str = "",
    channels: bool = False,
    exact: bool = True,
    **attributes: Any,
) -> onnx.ModelProto:
    """One ConvTranspose between quantizers; `exact` takes powers of two and small weights."""
    x = n.round(n.input("x", shape), 2.0**-5 if exact else 0.03)
    groups = attributes.get("group", 1)
    dims = (shape[0], outputs // groups, *kernel)
    w = n.weights(dims, dims[1] if channels else 1, pow2=exact, dtype="int8")
    inputs = [x, w.real(n, "w", 1)]
    if bias:
        values = n.rng.integers(-40, 40, outputs) * 2.0**-11
        inputs.append(n.constant("b", (values if exact else values * 37.7).astype(np.float32)))
    y = n.round(n.do("ConvTranspose", *inputs, **attributes), 2.0**-8 if exact else 0.11, 5)
    return n.model((y, len(shape) + 1, "float32"))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "twice": {"kernel": (2, 2), "strides": [2, 2]},
    "torch": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    "uneven": {"kernel": (3, 2), "strides": [3, 1], "pads": [2, 0, 1, 1]},
    "gaps": {"kernel": (2, 1), "strides": [3, 2], "output_padding": [2, 1]},
    "dilated": {"kernel": (2, 3), "dilations": [2, 1], "strides": [2, 2]},
    "cut": {"kernel": (2, 2), "pads": [2, 2, 1, 2], "strides": [2, 3]},
    "groups": {"group": 2, "outputs": 6, "strides": [2, 2], "channels": True},
    "depthwise": {"group": 4, "outputs": 4, "kernel": (4, 4), "strides": [2, 2], "pads": [1] * 4},
    "bias": {"bias": "float", "strides": [2, 2], "channels": True},
    "same-upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same-lower": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "output-shape": {"output_shape": [10, 11], "strides": [2, 2]},
    "line": {"shape": (3, 9), "kernel": (4,), "strides": [2], "pads": [1, 1]},
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_sums_are_the_runtimes(kind, dtype, tmp_path, seed):
    made = model(Net(dtype, seed=6), **KINDS[kind])
    (port,) = made.graph.input
    shape = [d.dim_value for d in port.type.tensor_type.shape.dim[1:]]
    x = np.random.default_rng(seed).uniform(-4, 4, (150, *shape)).astype(np.float32)
    session, _ = session_of(made, optimize=True)
    (want,) = session.run(None, {"x": x})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = load(made, tmp_path)
    got = hwsim.emulate(graph, x)
    assert got.shape == want.shape and np.array_equal(got, want)
    assert len(np.unique(want)) > 20 and unsupported(graph) == ()


@pytest.mark.parametrize("kind", ["twice", "torch", "groups", "bias"])
def test_sums_of_any_scales_are_announced_and_hardly_differ(kind, tmp_path, seed):
    made = model(Net(seed=6), exact=False, **KINDS[kind])
    ran, said, differ = outcome(made, tmp_path, seed)
    assert ran == [] and "one code in 200,000" in said and differ <= 1


def test_a_mutant_with_the_kernel_as_it_stands_is_seen(tmp_path):
    made = model(Net(seed=6), **KINDS["twice"])
    graph, x = load(made, tmp_path), feeds(made, 3)["x"]
    node = next(n for n in graph.nodes if n.op.kind == "conv2d")
    fields = ("bias", "weight_format", "window", "zero_point", "weight_scale", "bias_frac")
    held = {name: getattr(node.op, name) for name in fields}
    mutant = type(node.op)(**held, weights=node.op.weights[::-1, ::-1])  # type: ignore[attr-defined]
    other = hwsim.emulate(graph.with_op(node.name, mutant), x)
    assert not np.array_equal(hwsim.emulate(graph, x), other)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"pads": [3, 3, 4, 4]}, "its result must have from 1 to"),
        ({"strides": [0, 1]}, "'strides' must be two numbers from 1, not (0, 1)"),
        ({"pads": [-1, 0, 0, 0]}, "'pads' must be four numbers from 0, not (-1, 0, 0, 0)"),
        ({"output_padding": [1]}, "'output_padding' must be two numbers from 0, not (1,)"),
        ({"auto_pad": "AROUND"}, "'auto_pad' must be known, not 'AROUND'"),
    ],
)
def test_what_cannot_be_is_named(fields, text, tmp_path):
    n = Net()
    with pytest.raises(HwsimError) as error:
        load(model(n, **fields), tmp_path)
    assert text in str(error.value)
