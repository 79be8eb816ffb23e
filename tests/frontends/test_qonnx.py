"""QONNX: emulated values equal those of QONNX's own executor."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from support.qonnx_nets import GENERAL, Net, differences, executed, on_grid

import hwsim
from hwsim.frontends.onnx.qonnx_rules import round_reals
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Cast, Requantize, Table

pytest.importorskip("qonnx")

Array = npt.NDArray[Any]
DOMAIN = GENERAL
MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def load(model: onnx.ModelProto, folder: Path) -> hwsim.Graph:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return hwsim.load(path)


def mlp(n: Net, mode: str = "ROUND", sizes: Sequence[int] = (16, 64, 32, 32, 5)) -> onnx.ModelProto:
    """6-bit weights, 8-bit activations, biases with more fraction bits than the accumulator."""
    x = n.start(sizes[0])
    for layer, (cin, cout) in enumerate(itertools.pairwise(sizes)):
        x = n.do("MatMul", [x, n.weights((cin, cout))])
        bias = n.quant(n.constant(n.rng.normal(0, 0.5, cout)), 2.0**-11, 12)
        x = n.do("Add", [x, bias])
        last = layer == len(sizes) - 2
        x = x if last else n.do("Relu", [x])
        x = n.quant(x, 2.0 ** (-3 if last else -4), 8, signed=int(last), mode=mode)
    return n.model(x, sizes[-1])


@pytest.mark.parametrize("mode", MODES)
def test_an_mlp_gives_the_executors_values(mode: str, tmp_path: Path, seed: int) -> None:
    model = mlp(Net(seed), mode)
    assert differences(load(model, tmp_path), model, on_grid((16,), seed)) == 0


def one_layer(n: Net, mode: str, **rule: Any) -> onnx.ModelProto:
    """Small codes, so that about a quarter of the sums are exact ties."""
    x = n.start(8, scale=0.25, bits=6)
    w = n.quant(n.constant(n.rng.integers(-3, 4, (8, 12)) * 0.25), 0.25, 4)
    return n.model(n.quant(n.do("MatMul", [x, w]), 1.0, mode=mode, **rule), 12)


RULES = [
    {"bits": 4},
    {"bits": 4, "narrow": 1},
    {"bits": 4, "signed": 0},
    {"bits": 4, "signed": 0, "narrow": 1},
    {"bits": 4, "zero": 3},
    {"bits": 4, "zero": -1},
    {"bits": 4, "signed": 0, "zero": 5},
    {"bits": 2},
    {"bits": 1},
    {"bits": 1, "signed": 0},
    {"bits": 8, "op": "IntQuant"},
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: " ".join(f"{k}={v}" for k, v in r.items()))
@pytest.mark.parametrize("mode", MODES)
def test_a_sum_is_rounded_as_the_executor_does(
    mode: str, rule: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    model = one_layer(Net(seed), mode, **rule)
    x = on_grid((8,), seed, batch=30, step=0.125) * 4
    assert differences(load(model, tmp_path), model, x) == 0


def test_ties_tell_the_rounding_modes_apart(tmp_path: Path, seed: int) -> None:
    """The mutants: the same model read with each other mode."""
    x = on_grid((8,), seed, batch=40, step=0.125) * 4
    models = {mode: one_layer(Net(seed), mode, bits=6) for mode in MODES}
    for mode, model in models.items():
        expected = executed(model, x)
        for other, mutant in models.items():
            got = hwsim.emulate(load(mutant, tmp_path), x)
            assert np.array_equal(got, expected) == (mode == other), (mode, other)


def test_rounding_of_reals_is_the_executors(rng: np.random.Generator) -> None:
    from qonnx.custom_op.general.intquant import resolve_rounding_mode

    x = (rng.integers(-200, 200, 2000) / 8).astype(np.float32)
    for mode in (*MODES, "HALF_EVEN"):
        assert np.array_equal(round_reals(x, mode), resolve_rounding_mode(mode)(x))


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("zero", [0, 5])
def test_an_input_is_rounded_as_the_executor_does(
    mode: str, zero: int, tmp_path: Path, seed: int
) -> None:
    n = Net(seed)
    x = n.start(8, scale=0.25, bits=5, mode=mode, zero=zero, narrow=1)
    model = n.model(n.quant(n.do("MatMul", [x, n.weights((8, 4))]), 0.25, 8), 4)
    assert differences(load(model, tmp_path), model, on_grid((8,), seed, batch=40) * 3) == 0


def conv_net(n: Net) -> onnx.ModelProto:
    x = n.start(3, 8, 8)
    w = n.weights((4, 3, 3, 3))
    x = n.do("Conv", [x, w], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = n.quant(n.do("Relu", [x]), 2.0**-3, 6, signed=0)
    x = n.do("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = n.do("Conv", [x, n.weights((4, 1, 3, 3))], kernel_shape=[3, 3], group=4)
    x = n.quant(x, 2.0**-3, 6)
    x = n.do("Reshape", [x, n.constant([1, -1], np.int64)])
    return n.model(n.quant(n.do("MatMul", [x, n.weights((16, 5))]), 2.0**-3, 8), 5)


def residual(n: Net) -> onnx.ModelProto:
    """Two tensors with different powers of two, added exactly and then rounded."""
    x = n.start(4, 6, 6)
    y = n.do("Conv", [x, n.weights((4, 4, 3, 3))], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    total = n.do("Add", [x, n.quant(y, 2.0**-3, 8)])
    return n.model(n.quant(n.do("Relu", [total]), 2.0**-2, 6, signed=0), 4, 6, 6)


def averages(n: Net) -> onnx.ModelProto:
    x = n.start(4, 8, 8)
    x = n.quant(n.do("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2]), 2.0**-5, 8)
    return n.model(n.quant(n.do("GlobalAveragePool", [x]), 2.0**-6, 8), 4, 1, 1)


def joined(n: Net) -> onnx.ModelProto:
    x = n.start(3, 6, 6)
    parts = [n.do("Conv", [x, n.weights((c, 3, 3, 3))], kernel_shape=[3, 3]) for c in (2, 4)]
    parts = [n.quant(p, 2.0**-i, 6) for i, p in zip((2, 3), parts, strict=True)]
    return n.model(n.quant(n.do("Concat", parts, axis=1), 2.0**-2, 5), 6, 4, 4)


def per_channel(n: Net) -> onnx.ModelProto:
    scale = 2.0 ** -n.rng.integers(3, 6, (1, 6)).astype(float)
    x = n.do("MatMul", [n.start(10), n.weights((10, 6), scale)])
    return n.model(n.quant(x, 2.0**-2, 6, mode="FLOOR"), 6)


def bipolar(n: Net) -> onnx.ModelProto:
    """Signs as weights and as activations."""
    w = n.do(
        "BipolarQuant", [n.constant(n.rng.normal(0, 1, (10, 8))), n.constant(0.5)], domain=DOMAIN
    )
    x = n.do("MatMul", [n.start(10), w])
    x = n.do("BipolarQuant", [x, n.constant(0.25)], domain=DOMAIN)
    return n.model(n.quant(n.do("MatMul", [x, n.weights((8, 5))]), 2.0**-3, 8), 5)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
@pytest.mark.parametrize(
    ("op", "scale"),
    [("BipolarQuant", 0.5), ("BipolarQuant", 2.0**90), ("Quant", 0.5), ("Quant of 4 bits", 0.5)],
)
def test_one_scale_of_any_shape_quantizes_an_input(
    op: str, scale: float, shape: tuple[int, ...], tmp_path: Path, seed: int
) -> None:
    """The sign is that of the real, however small it is against the scale."""
    n = Net(seed)
    n.shape, array = (8,), np.full(shape, scale)
    if op == "BipolarQuant":
        x = n.do(op, ["x", n.constant(array)], domain=DOMAIN)
    else:
        x = n.quant("x", array, 4 if "4" in op else 1)
    w = n.quant(n.constant(n.rng.integers(-3, 4, (8, 5))), 1.0, 4)
    y = n.do("MatMul", [x, w])
    model = n.model(n.do("BipolarQuant", [y, n.constant(1.0)], domain=DOMAIN), 5)
    tiny = np.array([[0.0, -0.0, 1e-40, -1e-40, 1e-45, -1e-45, 1, -1]], np.float32)
    x_in = np.concatenate([on_grid((8,), seed), tiny, tiny[:, ::-1]])
    graph = load(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "4" in op else "error", hwsim.InputSaturation)
        got = hwsim.emulate(graph, x_in)
    assert (got == executed(model, x_in)).all()


@pytest.mark.parametrize("shape", [(6,), (1, 6)], ids=str)
@pytest.mark.parametrize("op", ["BipolarQuant", "Quant"])
def test_a_scale_for_each_output_may_leave_out_the_ones_of_its_shape(
    op: str, shape: tuple[int, ...], tmp_path: Path, seed: int
) -> None:
    n = Net(seed)
    scale = n.constant(2.0 ** -n.rng.integers(1, 4, shape).astype(float))
    more = [n.constant(0), n.constant(4)] if op == "Quant" else []
    rule = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} if more else {}
    values = n.constant(n.rng.normal(0, 1, (10, 6)))
    w = n.do(op, [values, scale, *more], domain=DOMAIN, **rule)
    model = n.model(n.quant(n.do("MatMul", [n.start(10), w]), 2.0**-2, 8), 6)
    assert differences(load(model, tmp_path), model, on_grid((10,), seed)) == 0


def float_bias_gemm(n: Net) -> onnx.ModelProto:
    bias = n.constant(np.round(n.rng.normal(0, 0.5, 6) * 2**14) / 2**14)
    x = n.do("Gemm", [n.start(10), n.weights((6, 10)), bias], transB=1)
    return n.model(n.quant(x, 2.0**-3, 8), 6)


def table_of_codes(n: Net) -> onnx.ModelProto:
    """Scales that are no powers of two, of one code: a table, exact as the executor's float32."""
    x = n.quant(n.do("Relu", [n.start(9, scale=0.11)]), 0.07, 5, signed=0, mode="CEIL")
    return n.model(x, 9)


def weights_with_a_zero_point(n: Net) -> onnx.ModelProto:
    w = n.quant(n.constant(n.rng.normal(0, 0.4, (10, 6))), 2.0**-4, 5, signed=0, zero=13)
    return n.model(n.quant(n.do("MatMul", [n.start(10), w]), 2.0**-3, 8), 6)


NETS: list[Callable[[Net], onnx.ModelProto]] = [
    conv_net, residual, averages, joined, per_channel, bipolar, float_bias_gemm, table_of_codes,
    weights_with_a_zero_point,
]  # fmt: skip


@pytest.mark.parametrize("build", NETS, ids=lambda f: f.__name__.replace("_", " "))
def test_a_graph_gives_the_executors_values(
    build: Callable[[Net], onnx.ModelProto], tmp_path: Path, seed: int
) -> None:
    n = Net(seed)
    model = build(n)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = load(model, tmp_path)
    assert differences(graph, model, on_grid(n.shape, seed)) == 0


def test_powers_of_two_become_shifts_only(tmp_path: Path) -> None:
    graph = load(mlp(Net(0)), tmp_path)
    roundings = [node.op for node in graph.nodes if node.op.kind not in ("dense", "relu")]
    assert roundings
    assert all(isinstance(op, Cast) for op in roundings)
    graph = load(mlp(Net(0), "CEIL"), tmp_path)
    assert {n.op.scheme.value for n in graph.nodes if isinstance(n.op, Requantize)} == {"shift"}


def odd_scales(n: Net, out: float) -> onnx.ModelProto:
    """A layer of 12 sums, rounded to a step of `out`."""
    x = n.do("MatMul", [n.start(8, scale=0.11, bits=6), n.weights((8, 12), 0.21)])
    return n.model(n.quant(x, out, 6), 12)


def test_scales_that_are_no_powers_of_two_are_exact_away_from_sums(
    tmp_path: Path, seed: int
) -> None:
    n = Net(seed)
    model = odd_scales(n, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = load(model, tmp_path)
    assert differences(graph, model, on_grid((8,), seed, batch=200)) == 0


def test_sums_that_meet_a_threshold_in_rounded_reals_are_announced(
    tmp_path: Path, seed: int
) -> None:
    """Every second sum is a tie, and what the executor adds is not quite that."""
    n = Net(seed)
    model = odd_scales(n, 2 * 0.11 * 0.21)
    with pytest.warns(RuntimeDifference, match=r"at \d+ of its \d+ thresholds its rounding decid"):
        graph = load(model, tmp_path)
    assert differences(graph, model, on_grid((8,), seed, batch=200)) > 0


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"scale": 0.0}, "a scale must be a finite number above 0, not 0.0"),
        ({"scale": -0.5}, "a scale must be a finite number above 0, not -0.5"),
        ({"scale": float("nan")}, "its scale must be finite numbers"),
        ({"scale": 0.5, "bits": 0}, "bit width must be one whole number from 1 to 32"),
        ({"scale": 0.5, "bits": 2.5}, "bit width must be one whole number"),
        ({"scale": 0.5, "zero": 0.25}, "zero point must be one whole number"),
        ({"scale": 0.5, "mode": "SIDEWAYS"}, "'rounding_mode' must be one of .*, not 'SIDEWAYS'"),
        (
            {"scale": [0.5, 0.25], "bits": [1, 4]},
            "its channels must have 1 bit and a sign all, or none of them",
        ),
        ({"scale": [0.5, 0.25, 1.0]}, r"must fit a tensor of shape \(2,\), not be of shape"),
    ],
)
def test_a_bad_quantizer_is_refused(rule: dict[str, Any], said: str, tmp_path: Path) -> None:
    n = Net(0)
    x = n.do("MatMul", [n.start(8), n.weights((8, 2))])
    model = n.model(n.quant(x, **({"bits": 4} | rule)), 2)
    with pytest.raises(hwsim.HwsimError, match=rf"model\.onnx: Quant 'quant\d+_n': .*{said}"):
        load(model, tmp_path)


def wide_and_narrow_channels(n: Net, mode: str) -> onnx.ModelProto:
    """Another width, scale and number of codes for each channel of a map, a line of pools after."""
    scale = 2.0 ** -np.array([2, 3, 5, 1], float).reshape(1, 4, 1, 1)
    bits = np.array([3, 8, 6, 2]).reshape(1, 4, 1, 1)
    x = n.do("Conv", [n.start(2, 6, 5), n.weights((4, 2, 3, 3))])
    x = n.quant(x, scale, bits, mode=mode)
    x = n.do("MaxPool", [n.do("Relu", [x])], kernel_shape=[2, 2])
    x = n.do("Conv", [x, n.weights((3, 4, 1, 1))])
    return n.model(n.quant(x, 2.0 ** -np.arange(3.0).reshape(3, 1, 1), 5, narrow=1), 3, 3, 2)


def rows_with_formats(n: Net, mode: str) -> onnx.ModelProto:
    """Features last; then the same codes quantized again, more coarsely."""
    x = n.do("MatMul", [n.start(5, 8), n.weights((8, 3))])
    x = n.quant(x, [0.25, 0.125, 0.5], [4, 7, 5], mode=mode, signed=0)
    return n.model(n.quant(x, [0.5, 0.5, 1.0], [3, 3, 4], mode=mode), 5, 3)


@pytest.fixture
def one_width_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """QONNX's own rule for several bit widths: its executor (1.0) takes one, and ends otherwise."""
    from qonnx.custom_op.general import intquant

    rule = intquant.int_quant

    def each(x: Array, scale: Array, zero: Array, bits: Array, *modes: Any) -> Array:
        out = np.zeros_like(x)
        for width in np.unique(bits):
            out = np.where(bits == width, rule(x, scale, zero, width, *modes), out)
        return out

    monkeypatch.setattr(intquant, "int_quant", each)


@pytest.mark.usefixtures("one_width_at_a_time")
@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("build", [wide_and_narrow_channels, rows_with_formats])
def test_a_format_for_each_channel_gives_qonnxs_values(
    build: Callable[[Net, str], onnx.ModelProto], mode: str, tmp_path: Path, seed: int
) -> None:
    n = Net(seed)
    model = build(n, mode)
    graph = load(model, tmp_path)
    casts = [node.op for node in graph.nodes if isinstance(node.op, Cast)]
    assert sum(op.channels is not None for op in casts) == 2
    assert differences(graph, model, on_grid(n.shape, seed, batch=20)) == 0


def test_an_input_with_a_format_for_each_channel_is_refused(tmp_path: Path) -> None:
    n = Net(0)
    n.shape = (8,)
    x = n.do("MatMul", [n.quant("x", 2.0 ** -np.arange(8.0), 4), n.weights((8, 2))])
    with pytest.raises(
        hwsim.HwsimError, match="an input of the graph must have one scale for all channels"
    ):
        load(n.model(n.quant(x, 0.5, 4), 2), tmp_path)


def test_a_function_of_more_codes_than_a_table_has_is_refused(tmp_path: Path) -> None:
    n = Net(3)
    x = n.quant(n.do("Sigmoid", [n.start(6, scale=2.0**-10, bits=20)]), 2.0**-7, 8)
    with pytest.raises(hwsim.HwsimError) as error:
        load(n.model(x, 6), tmp_path)
    assert str(error.value).endswith(
        "a tensor that a function is taken of must have at most 12 bits, or 65536 codes that can "
        "occur, not 20 bits and codes from -524288 to 524287"
    )


def test_a_function_of_few_codes_of_a_wide_format_is_a_table(tmp_path: Path, seed: int) -> None:
    """A clamp leaves 2**11 + 1 of the 2**20 codes."""
    n = Net(3)
    x = n.do("Clip", [n.start(400, scale=2.0**-10, bits=20), n.constant(0.0), n.constant(2.0)])
    x = n.quant(n.do("Sigmoid", [n.quant(x, 2.0**-10, 20)]), 2.0**-7, 8)
    graph = load(n.model(x, 400), tmp_path)
    table = next(node.op for node in graph.nodes if isinstance(node.op, Table))
    assert (table.first, table.values.size) == (0, 2049)
    reals = np.random.default_rng(seed).uniform(-3, 3, (4, 400)).astype(np.float32)
    clipped = np.clip(np.rint(reals * 1024) / 1024, 0, 2)
    expected = np.clip(np.rint(128 / (1 + np.exp(-clipped))), -128, 127) / 128
    off = np.abs(128 / (1 + np.exp(-clipped)) % 1 - 0.5) > 1e-4  # where float32 cannot matter
    assert np.array_equal(hwsim.emulate(graph, reals)[off], expected.astype(np.float32)[off])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 1, 1)], ids=["alike", "by channel"])
def test_pairs_of_fixed_point_tensors_broadcast_exactly(op, shape, tmp_path, seed):
    """Two powers of two, combined at full precision and rounded once."""
    n = Net(seed)
    x = n.start(4, 6, 6)
    kernel = 1 if shape[1:] == (6, 6) else 6
    y = n.do("Conv", [x, n.weights((4, 4, kernel, kernel))], kernel_shape=[kernel] * 2)
    pair = n.do(op, [x, n.quant(y, 2.0**-3, 8)])
    model = n.model(n.quant(pair, 2.0**-2, 6), 4, 6, 6)
    graph = load(model, tmp_path)
    assert differences(graph, model, on_grid((4, 6, 6), seed)) == 0
