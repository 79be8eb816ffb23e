"""Sums, means, products and float layers that nothing quantizes: equal to the runtime, or said."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Array, Q
from support.onnx_nets import Net
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

Build = Callable[[Net, str], str]
pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")


def floats(n: Net, *shape: int) -> str:
    return n.constant(n.name("f"), n.rng.normal(0, 0.3, shape).astype(np.float32))


def other(n: Net, scale: float = 0.043) -> str:
    return n.qdq(n.input("y", (4, 6, 5)), Q(n.dtype, scale, 131))


def layer(n: Net, x: str) -> str:
    return n.do("Conv", x, n.kernel((4, 4, 3, 3), 0, 4), pads=[1, 1, 1, 1])


def mean(n: Net, x: str) -> str:
    return n.do("GlobalAveragePool", n.do("Relu", layer(n, n.qdq(layer(n, x), Q("uint8", 0.4, 9)))))


def pooled(n: Net, x: str) -> str:
    return n.do("GlobalAveragePool", x)


def residual(n: Net, x: str) -> str:
    return n.do("Relu", n.do("Add", layer(n, x), other(n)))


def product(n: Net, x: str) -> str:
    return n.do("Mul", x, other(n))


def rows(n: Net, x: str) -> str:
    return n.do("ReduceSum", n.do("Add", x, other(n)), n.ints(3), keepdims=1)


def joined(n: Net, x: str) -> str:
    """Of tensors of three scales, as heads of detectors are."""
    return n.do("Concat", x, other(n), layer(n, x), axis=1)


def chained(n: Net, x: str) -> str:
    """A residual stream that nothing rounds, as where only layers are quantized."""
    for _ in range(3):
        x = n.do("Add", x, layer(n, n.qdq(x, Q("uint8", 0.2, 119))))
    return x


def clipped(n: Net, x: str) -> str:
    """Cut at the end, as an image is that a network draws."""
    low, high = (n.constant(n.name("end"), np.float32(k)) for k in (-6, 6))
    return n.do("Clip", n.do("Add", layer(n, x), other(n)), low, high)


ENDS: list[Build] = [clipped, mean, pooled, residual, product, rows, joined, chained]


def loaded(made: onnx.ModelProto, folder: Path) -> tuple[hwsim.Graph, bool]:
    """The graph, and whether a difference was announced."""
    onnx.save(made, folder / "m.onnx")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(folder / "m.onnx")
    return graph, any(issubclass(w.category, RuntimeDifference) for w in said)


def drawn(made: onnx.ModelProto, seed: int, batch: int = 400) -> Mapping[str, Array]:
    rng = np.random.default_rng(seed)
    ports = [(p.name, p.type.tensor_type.shape.dim[1:]) for p in made.graph.input]
    return {
        name: rng.uniform(-7, 7, (batch, *[d.dim_value for d in dims])).astype(np.float32)
        for name, dims in ports
    }


@pytest.mark.parametrize("build", ENDS, ids=lambda f: f.__name__)
def test_reals_at_the_end_differ_in_their_last_bits_and_are_announced(
    build: Build, tmp_path: Path, seed: int
) -> None:
    n = Net("uint8", seed=seed)
    out = build(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)))
    made = n.model((out, 4, "float32"))
    graph, announced = loaded(made, tmp_path)
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    got = hwsim.emulate(graph, dict(feeds))
    assert got.shape == want.shape and got.dtype == want.dtype
    off = np.abs(got.astype(np.float64) - want).max() / np.abs(want).max()
    assert off <= 2e-6
    assert announced


def excluded(n: Net, x: str) -> str:
    """A convolution whose weights and bias nobody has quantized."""
    return n.do("Conv", x, floats(n, 5, 4, 3, 3), floats(n, 5))


def grouped(n: Net, x: str) -> str:
    return n.do("Conv", x, floats(n, 4, 1, 3, 3), group=4, pads=[1, 1, 1, 1])


def upward(n: Net, x: str) -> str:
    """A transposed convolution, which the quantizer to QLinear operators leaves alone."""
    return n.do("ConvTranspose", x, floats(n, 4, 3, 2, 2), floats(n, 3), strides=[2, 2])


def head(n: Net, x: str) -> str:
    return n.do("Gemm", n.do("Flatten", x), floats(n, 7, 120), floats(n, 7), transB=1)


def by_rows(n: Net, x: str) -> str:
    return n.do("Add", n.do("MatMul", x, floats(n, 5, 8)), floats(n, 8))


def normalized(n: Net, x: str) -> str:
    """A norm of a residual sum that nothing rounds."""
    total = n.do("Add", layer(n, x), other(n))
    return n.do("InstanceNormalization", total, floats(n, 4), floats(n, 4))


def joined_before_a_layer(n: Net, x: str) -> str:
    return n.do("Conv", joined(n, x), n.kernel((3, 12, 1, 1), 0, 3))


def attended(n: Net, x: str) -> str:
    """A softmax of scores that nothing rounds: exponentials of more codes than one table holds."""
    turned = n.do("Transpose", other(n, 0.021), perm=[0, 1, 3, 2])
    return n.do("Softmax", n.do("MatMul", x, turned), axis=-1)


def gated(n: Net, x: str) -> str:
    """SiLU of a layer's sums that nothing rounds, times another tensor, and then a layer."""
    y = layer(n, x)
    y = n.do("Mul", n.do("Mul", y, n.do("Sigmoid", y)), other(n, 0.0043))
    return n.do("Conv", y, n.kernel((3, 4, 3, 3), 0, 3))


def two_layers(n: Net, x: str) -> str:
    """The second one of the first one's unrounded sums."""
    return n.do("Conv", n.do("Relu", layer(n, x)), n.kernel((3, 4, 3, 3), 0, 3))


BETWEEN: list[tuple[Build, float]] = [
    (upward, 0.08), (head, 0.3), (by_rows, 0.09),
    (normalized, 0.013), (joined_before_a_layer, 0.5), (attended, 1 / 256), (two_layers, 0.9),
    (chained, 0.4), (gated, 0.3),
]  # fmt: skip


@pytest.mark.parametrize(("build", "scale"), BETWEEN, ids=[f.__name__ for f, _ in BETWEEN])
def test_a_quantizer_behind_reals_gives_the_runtimes_codes_but_for_what_is_announced(
    build: Build, scale: float, tmp_path: Path, seed: int
) -> None:
    n = Net("uint8", seed=seed)
    out = build(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)))
    rank = 2 if build is head else 4
    made = n.model((n.qdq(out, Q("uint8", scale, 77)), rank, "float32"))
    graph, announced = loaded(made, tmp_path)
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    off = np.rint(np.abs(hwsim.emulate(graph, dict(feeds)) - want) / scale)
    print(f"{np.count_nonzero(off)} of {off.size} codes differ")
    assert off.max() <= 1
    assert np.mean(off > 0) <= 1 / 5000
    assert announced


def test_an_input_that_a_float_layer_reads_is_taken_in_fine_steps(
    tmp_path: Path, seed: int
) -> None:
    """Where the first layer is left out of quantization."""
    n = Net("uint8", seed=seed)
    made = n.model(
        (n.qdq(excluded(n, n.input("x", (4, 6, 5))), Q("uint8", 0.11, 77)), 4, "float32")
    )
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.warns(RuntimeDifference, match="nothing quantizes this input"):
        graph = hwsim.load(tmp_path / "m.onnx")
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    off = np.rint(np.abs(hwsim.emulate(graph, dict(feeds)) - want) / 0.11)
    assert off.max() <= 1
    assert np.mean(off > 0) <= 1 / 5000


def from_the_left(n: Net, x: str) -> str:
    """A constant matrix times each map, as in graph networks and mixers."""
    return n.do("MatMul", n.kernel((7, 6), 0), x)


def unlike(n: Net, x: str) -> str:
    """A layer scale of 1e-6, as a network has it before it is trained."""
    return n.do("Add", n.qdq(n.input("y", (4, 6, 5)), Q("uint8", 7.6e-9, 140)), x)


def unlike_difference(n: Net, x: str) -> str:
    return n.do("Sub", x, n.qdq(n.input("y", (4, 6, 5)), Q("uint8", 3.1e-9, 140)))


EXACT: list[Build] = [from_the_left, unlike, unlike_difference, excluded, grouped]
"""The runtime makes a convolution's float weights int8 where its input and result are codes."""


@pytest.mark.parametrize("build", EXACT, ids=lambda f: f.__name__)
def test_codes_are_the_runtimes(build: Build, tmp_path: Path, seed: int) -> None:
    n = Net("uint8", seed=seed)
    out = build(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)))
    made = n.model((n.qdq(out, Q("uint8", 0.093, 128)), 4, "float32"))
    graph, _ = loaded(made, tmp_path)
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, dict(feeds)), want)


def strided(n: Net, x: str, *, factor: int) -> str:
    """PyTorch's `as_strided` of a mean: indices of all samples' elements."""
    pool = n.qdq(n.do("GlobalAveragePool", x), Q("uint8", 0.02, 119))
    flat = n.do("Reshape", pool, n.ints(-1))
    batch = n.do("Squeeze", n.do("Gather", n.do("Shape", x), n.ints(0)), n.ints(0))
    zero, one = (n.constant(n.name("n"), np.array(k, np.int64)) for k in (0, 1))
    size = n.constant("size", np.array(factor, np.int64))
    each = n.do("Mul", n.do("Range", zero, batch, one), size)
    first = n.do("Unsqueeze", each, n.ints(1, 2, 3))
    offsets = n.constant("offsets", np.arange(4).reshape(1, 4, 1, 1))
    return n.do("Gather", flat, n.do("Add", first, offsets), axis=0)


def test_a_gather_of_the_whole_batch_by_ranges_keeps_samples_apart(
    tmp_path: Path, seed: int
) -> None:
    n = Net("uint8", seed=seed)
    out = strided(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)), factor=4)
    made = n.model((n.qdq(out, Q("uint8", 0.02, 119)), 4, "float32"))
    graph, _ = loaded(made, tmp_path)
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, dict(feeds)), want)


def test_a_gather_of_the_whole_batch_by_other_steps_is_refused(tmp_path: Path, seed: int) -> None:
    """The mutant: its indices are those of other samples."""
    n = Net("uint8", seed=seed)
    out = strided(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)), factor=3)
    made = n.model((n.qdq(out, Q("uint8", 0.02, 119)), 4, "float32"))
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(hwsim.HwsimError, match="Gather"):
        hwsim.load(tmp_path / "m.onnx")


def test_tokens_as_rows_are_normalized_feature_by_feature(tmp_path: Path, seed: int) -> None:
    """Flatten makes (batch * tokens, features) as LeViT has it; then BatchNormalization."""
    n = Net("uint8", seed=seed)
    x = n.qdq(n.input("x", (6, 5)), Q("uint8", 0.05, 119))
    rows = n.qdq(n.do("Flatten", x, axis=2), Q("uint8", 0.05, 119))
    y = n.qdq(n.do("MatMul", rows, n.kernel((5, 8), 1, 8)), Q("uint8", 0.2, 119))
    constants = [np.abs(n.rng.normal(1, 0.3, 8)).astype(np.float32) for _ in range(4)]
    names = [n.constant(f"bn{i}", array) for i, array in enumerate(constants)]
    y = n.qdq(n.do("BatchNormalization", y, *names), Q("uint8", 0.2, 119))
    made = n.model((n.do("Reshape", y, n.ints(-1, 6, 8)), 3, "float32"))
    graph, _ = loaded(made, tmp_path)
    feeds = drawn(made, seed)
    (want,) = run_ort(made, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, dict(feeds)), want)


def test_a_resize_to_sizes_of_which_the_first_is_the_batch(tmp_path: Path, seed: int) -> None:
    """As segmentation heads write it: their input's own batch, then fixed sizes."""
    n = Net("uint8", seed=seed)
    x = n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119))
    batch = n.do("Gather", n.do("Shape", x), n.ints(0))
    sizes = n.do("Concat", batch, n.ints(4, 12, 10), axis=0)
    empty = n.constant("none", np.zeros(0, np.float32))
    out = n.do("Resize", x, empty, empty, sizes, mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip
    made = n.model((n.qdq(out, Q("uint8", 0.05, 119)), 4, "float32"))
    graph, _ = loaded(made, tmp_path)
    feeds = drawn(made, seed, 20)
    (want,) = run_ort(made, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, dict(feeds)), want)
