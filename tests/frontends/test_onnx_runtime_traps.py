"""Graphs in which ONNX Runtime does what nobody expects: its integers, or a word about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, norm, row, typed

from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference

Build = Callable[[Net], onnx.ModelProto]


def biased(n: Net, x: str) -> str:
    return n.do("Gemm", x, n.kernel((12, 7), 1), row(n))


def norm_of_a_biased_layer(n: Net) -> onnx.ModelProto:
    return n.model((n.round(norm(n, biased(n, n.start(12)), 7), 0.9), 2, "float32"))


def biased_layers_added(n: Net) -> onnx.ModelProto:
    x = n.start(12)
    total = n.do("Add", biased(n, x), n.do("Gemm", x, n.kernel((12, 7), 1)))
    return n.model((n.round(total, 0.9), 2, "float32"))


def biased_layer_added_to_codes(n: Net) -> onnx.ModelProto:
    x = n.start(12)
    total = n.do("Add", biased(n, x), n.dense(x, 7, 12))
    return n.model((n.round(total, 0.9), 2, "float32"))


def biased_layer_times_a_constant(n: Net) -> onnx.ModelProto:
    total = n.do("Mul", biased(n, n.start(12)), n.constant("k", np.float32(1.7)))
    return n.model((n.round(total, 0.9), 2, "float32"))


@pytest.mark.parametrize(
    "build",
    [
        norm_of_a_biased_layer,
        biased_layers_added,
        biased_layer_added_to_codes,
        biased_layer_times_a_constant,
    ],
)
def test_fraction_bits_of_a_real_bias_count_once(build: Build, tmp_path: Path, seed: int) -> None:
    for number in range(6):
        ran, said, differ = outcome(build(Net(seed=number)), tmp_path, seed)
        assert "200,000" in said or differ == 0
        assert differ <= 1, ran


def chain(n: Net, *, cast: bool = False, twins: bool = False) -> onnx.ModelProto:
    """A quantizer behind another one, with a cast between or two readers behind."""
    real = n.qdq(n.input("x", (12,)), Q("uint8", 0.03, 120))
    if cast:
        real = n.do("Cast", real, to=1)
    outer = Q("uint8", 0.02, 100)
    scale, zero = n.parameters("outer", outer)
    code = n.do("QuantizeLinear", real, scale, zero)
    first = n.do("DequantizeLinear", code, scale, zero)
    outputs = [(n.round(n.do("Sigmoid", first), 0.01), 2, "float32")]
    if twins:
        again = n.parameters("again", outer)
        second = n.do("DequantizeLinear", code, *again)
        outputs.append((n.qdq(n.do("Tanh", second), Q("uint8", 0.01, 128)), 2, "float32"))
    return n.model(*outputs)


@pytest.mark.parametrize("kind", ["cast", "twins"])
def test_two_pairs_are_one_across_a_cast_and_before_equal_dequantizers(
    kind: str, tmp_path: Path, seed: int
) -> None:
    _, said, differ = outcome(chain(Net(), **{kind: True}), tmp_path, seed)
    assert (said, differ) == ("", 0)


def without_zero(
    n: Net, op: str, *, several: bool, most: int, dtype: str = "int8", rounds: bool = True
) -> onnx.ModelProto:
    """A layer whose weights have no zero point."""
    low = 0 if dtype == "uint8" else -most
    codes = n.constant("w", n.rng.integers(low, most + 1, (12, 7)).astype(dtype))
    scale = np.linspace(0.01, 0.02, 7 if several else 1, dtype=np.float32)
    extra = {"axis": 1} if several else {}
    given = n.constant("s", scale if several else scale.reshape(()))
    out = n.do(op, n.start(12), n.do("DequantizeLinear", codes, given, **extra))
    return n.model((n.round(out, 0.3) if rounds else out, 2, "float32"))


@pytest.mark.parametrize("rounds", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("most", [60, 127])
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_weights_without_a_zero_point_choose_the_kernel(
    op: str, several: bool, most: int, dtype: str, rounds: bool, tmp_path: Path, seed: int
) -> None:
    if several and most > 64 and dtype == "int8" and (rounds or op == "Gemm"):
        return  # ONNX Runtime refuses these itself under session.x64quantprecision
    model = without_zero(Net(), op, several=several, most=most, dtype=dtype, rounds=rounds)
    ran, said, differ = outcome(model, tmp_path, seed)  # foreseen is what ran
    assert bool(ran) is (said == "")
    assert differ == 0 or said


def test_a_gemms_alpha_comes_in_before_its_weights_scale(tmp_path: Path, seed: int) -> None:
    for number in range(8):
        n = Net(seed=number)
        out = n.do("Gemm", n.start(12), n.kernel((12, 7), 1), alpha=0.37)
        assert outcome(n.model((out, 2, "float32")), tmp_path, seed) == (["QGemm"], "", 0)


def test_sums_that_wrap_are_announced_before_a_product_too(tmp_path: Path, seed: int) -> None:
    n = Net()
    w = n.weights((12, 7), 1, pow2=False, dtype="int8")
    codes = n.constant("b", np.full(7, 2**31 - 1, np.int32))
    scale = n.constant("bs", np.float32(w.scale[0] * np.float32(0.03)))
    bias = n.do("DequantizeLinear", codes, scale, n.constant("bz", np.int32(0)))
    out = n.do("Gemm", n.start(12), w.real(n, "w", 0), bias)
    out = n.round(n.do("Mul", out, n.constant("k", np.float32(1.7))), 0.3)
    _, said, differ = outcome(n.model((out, 2, "float32")), tmp_path, seed)
    assert "wrap" in said
    assert differ


def signed_without_zero(n: Net, mover: str) -> onnx.ModelProto:
    """What TensorRT-like exports leave out: the zero point of an int8 DequantizeLinear."""
    code = n.do("QuantizeLinear", n.input("x", (3, 4, 4)), *n.parameters("q", Q("int8", 0.03, 0)))
    real = n.do("DequantizeLinear", code, n.constant("s", np.float32(0.03)))
    if mover == "Reshape":
        return n.model((n.do(mover, real, n.ints(0, -1)), 2, "float32"))
    if mover == "MaxPool":
        return n.model((n.do(mover, real, kernel_shape=[2, 2]), 4, "float32"))
    return n.model((n.do(mover, real), 2 if mover == "Flatten" else 4, "float32"))


@pytest.mark.parametrize("mover", ["Reshape", "Transpose", "MaxPool"])
def test_an_int8_dequantizer_without_zero_point_that_moves_is_announced(
    mover: str, tmp_path: Path, seed: int
) -> None:
    if mover == "Transpose":
        n = Net()
        model = signed_without_zero(n, "Relu")
        model.graph.node[-1].op_type = "Transpose"
        model.graph.node[-1].attribute.append(onnx.helper.make_attribute("perm", [0, 2, 3, 1]))
    else:
        model = signed_without_zero(Net(), mover)
    _, said, differ = outcome(model, tmp_path, seed)
    assert differ
    assert "cuts all codes below 0" in said


@pytest.mark.parametrize("mover", ["Flatten", "Abs"])
def test_one_that_stays_is_not(mover: str, tmp_path: Path, seed: int) -> None:
    _, said, differ = outcome(signed_without_zero(Net(), mover), tmp_path, seed)
    assert (said, differ) == ("", 0)


def turned_twice(n: Net, first: Q, second: Q) -> onnx.ModelProto:
    x = n.do("Transpose", n.qdq(n.input("x", (3, 4, 5)), first), perm=[0, 2, 3, 1])
    x = n.do("Transpose", n.qdq(x, second), perm=[0, 3, 1, 2])
    return n.model((n.round(n.do("Abs", x), 0.01), 4, "float32"))


def test_a_transpose_that_leaves_two_pairs_in_a_row_is_announced(tmp_path: Path, seed: int) -> None:
    first = Q("uint8", 0.03, 120)
    _, said, differ = outcome(turned_twice(Net(), first, Q("uint8", 0.02, 90)), tmp_path, seed)
    assert differ
    assert "may move the Transpose" in said
    _, said, differ = outcome(turned_twice(Net(), first, first), tmp_path, seed)
    assert (said, differ) == ("", 0)


def test_an_exponential_at_the_end_is_announced(tmp_path: Path, seed: int) -> None:
    n = Net()
    _, said, _ = outcome(n.model((n.do("Elu", n.start(64)), 2, "float32")), tmp_path, seed)
    assert "last bits" in said


NOTHINGS = {
    "Add": (0.0, -0.0),
    "Sub": (0.0,),
    "Mul": (1.0,),
    "Div": (1.0,),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("op", NOTHINGS)
def test_arithmetic_that_changes_nothing_leaves_two_pairs_in_a_row(
    op: str, turned: bool, tmp_path: Path, seed: int
) -> None:
    """The runtime takes x + 0 and x * 1 away and makes one pair of two; 0 - x and 1 / x stay."""
    for value in NOTHINGS[op]:
        for shape in ((), (1,), (1, 1)):
            n = Net()
            held = n.constant("k", np.full(shape, value, np.float32))
            x = n.start(12)
            same = n.do(op, held, x) if turned else n.do(op, x, held)
            made = n.model((n.dense(n.round(same, 0.05, 20), 7, 12), 2, "float32"))
            ran, said, differ = outcome(made, tmp_path, seed)
            assert (ran, said, differ) == (["QGemm"], "", 0)


@pytest.mark.parametrize(("op", "value"), [("Add", 0.0), ("Mul", 1.0)])
def test_a_layer_keeps_its_integers_before_arithmetic_that_changes_nothing(
    op: str, value: float, tmp_path: Path, seed: int
) -> None:
    n = Net()
    sums = n.do("MatMul", n.start(12), n.kernel((12, 7), 1))
    same = n.do(op, sums, n.constant("k", np.float32(value)))
    ran, said, differ = outcome(n.model((n.round(same, 0.9), 2, "float32")), tmp_path, seed)
    assert (ran, said, differ) == (["QLinearMatMul"], "", 0)


@pytest.mark.parametrize("kind", ["factors", "function"])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_the_largest_of_reals_that_nothing_rounds_is_announced(
    op: str, kind: str, tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.start(3, 4, 5)
    reals = norm(n, x, 3) if kind == "factors" else n.do("Exp", x)
    made = n.model((n.do(op, reals, axes=[1, 3]), 4, "float32"))
    _, said, differ = outcome(made, tmp_path, seed)
    assert "last bits" in said and (differ or kind == "function")


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_two_pairs_of_16_bits_are_one_too(dtype: str, tmp_path: Path, seed: int) -> None:
    n = Net()
    middle = 32768 if dtype == "uint16" else 0
    x = n.qdq(n.input("x", (40,)), Q(dtype, 2.0**-6, middle - 90))
    y = n.qdq(n.do("Identity", x), Q(dtype, 2.0**-5, middle + 1000))
    y = n.qdq(n.do("Abs", y), Q(dtype, 2.0**-7, middle))
    _, said, differ = outcome(typed(n, (y, 2, "float32")), tmp_path, seed)
    assert (said, differ) == ("", 0)


def test_pairs_without_a_common_range_are_refused(tmp_path: Path) -> None:
    n = Net()
    x = n.qdq(n.qdq(n.input("x", (4,)), Q("uint8", 0.03, 255)), Q("uint8", 0.02, 0))
    with pytest.raises(HwsimError, match="must have a range in common"):
        load(n.model((x, 2, "float32")), tmp_path)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_at_the_ends_of_float32_are_refused(scale: float, tmp_path: Path) -> None:
    n = Net()
    model = n.model((n.round(n.do("Relu", n.start(4)), scale), 2, "float32"))
    with pytest.raises(HwsimError, match="the scale of an activation must be"):
        load(model, tmp_path)


@pytest.mark.parametrize("zero", [0, 5])
@pytest.mark.parametrize("op", ["MatMul", "Conv"])
def test_int8_codes_become_uint8_before_a_dequantizer_without_zero_point(
    op: str, zero: int, tmp_path: Path, seed: int
) -> None:
    n = Net("int8")
    shape = (3, 4, 4) if op == "Conv" else (12,)
    scale, point = n.parameters("q", Q("int8", 0.03, zero))
    code = n.do("QuantizeLinear", n.input("x", shape), scale, point)
    real = n.do("DequantizeLinear", code, scale, *([point] if zero else []))
    w = n.kernel((4, 3, 3, 3) if op == "Conv" else (12, 7), 0)
    out = n.do(op, real, w)
    ran, said, differ = outcome(
        n.model((n.round(out, 0.3), len(shape) + 1, "float32")), tmp_path, seed
    )
    assert (ran, said, differ) == ([f"QLinear{op}"], "", 0)


@pytest.mark.parametrize("axis", [0, -4])
def test_an_axis_may_count_from_the_end(axis: int, tmp_path: Path, seed: int) -> None:
    """A float bias becomes int32 by weights with a scale a channel, however that is named."""
    n = Net()
    w = n.weights((4, 3, 3, 3), 4, pow2=False, dtype="int8").real(n, "w", axis)
    bias = n.constant("b", n.rng.normal(0, 1, 4).astype(np.float32))
    out = n.round(n.do("Conv", n.start(3, 6, 5), w, bias), 0.3)
    assert outcome(n.model((out, 4, "float32")), tmp_path, seed) == (["QLinearConv"], "", 0)


def test_a_transpose_of_weights_without_a_zero_point_stays(tmp_path: Path, seed: int) -> None:
    n = Net()
    codes = n.constant("w", n.rng.integers(-60, 60, (7, 12)).astype(np.int8))
    w = n.do("DequantizeLinear", codes, n.constant("s", np.float32(0.01)))
    out = n.do("MatMul", n.start(12), n.do("Transpose", w, perm=[1, 0]))
    ran, said, _ = outcome(n.model((out, 2, "float32")), tmp_path, seed)
    assert ran == []
    assert "last bits" in said


def test_ties_of_an_integer_add_of_a_constant_are_followed(tmp_path: Path, seed: int) -> None:
    n = Net()
    x = n.qdq(n.input("x", (6,)), Q("uint8", 2.0**-5, 0))
    codes = n.constant("c", np.array([0, 98, 3, 5, 77, 250], np.uint8))
    scale = n.constant("cs", np.float32(2.0**-7))
    constant = n.do("DequantizeLinear", codes, scale, n.constant("cz", np.uint8(0)))
    out = n.qdq(n.do("Add", x, constant), Q("uint8", 0.25, 11))
    _, said, differ = outcome(n.model((out, 2, "float32")), tmp_path, seed)
    assert (said, differ) == ("", 0)


def batch_of(size: int | None, node: Build) -> onnx.ModelProto:
    model = node(Net())
    if size is not None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    return model


def rows(target: list[int]) -> Build:
    return lambda n: n.model((n.do("Reshape", n.start(4, 3), n.ints(*target)), 2, "float32"))


def test_a_reshape_that_takes_samples_apart_is_refused_or_announced(tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match="must keep the batch of 1"):
        load(batch_of(1, rows([12, -1])), tmp_path)
    with pytest.warns(RuntimeDifference, match="makes 1 rows of any batch"):
        load(batch_of(None, rows([1, -1])), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        load(batch_of(2, rows([2, -1])), tmp_path)
        load(batch_of(None, rows([0, -1])), tmp_path)


def test_a_squeeze_without_axes_says_what_a_batch_of_one_does(tmp_path: Path) -> None:
    def squeezed(n: Net) -> onnx.ModelProto:
        return n.model((n.do("Squeeze", n.start(4, 1)), 2, "float32"))

    with pytest.warns(RuntimeDifference, match="takes out the batch's axis"):
        load(batch_of(None, squeezed), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        load(batch_of(3, squeezed), tmp_path)


def test_a_port_without_a_zero_point_has_its_own_type(tmp_path: Path, seed: int) -> None:
    """int8 codes of an integer port stay int8, so that the convolution runs in float32."""
    n = Net("int8")
    real = n.do(
        "DequantizeLinear", n.input("x", (3, 5, 5), "int8"), n.constant("s", np.float32(0.03))
    )
    model = n.model((n.round(n.do("Conv", real, n.kernel((4, 3, 3, 3), 0)), 0.3), 4, "float32"))
    with pytest.warns(RuntimeDifference, match="adds in float32"):
        load(model, tmp_path)


@pytest.mark.parametrize("pads", [[0] * 8, [0, 0, 1, 1, 0, 0, 1, 1]])
def test_a_pad_before_an_average_leaves_the_integer_kernel(
    pads: list[int], tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.qdq(n.input("x", (2, 4, 4)), Q("uint8", 2.0**-6, 137))
    x = n.do("Pad", x, n.ints(*pads))
    out = n.qdq(n.do("AveragePool", x, kernel_shape=[2, 2]), Q("uint8", 2.0**-6, 137))
    ran, said, differ = outcome(n.model((out, 4, "float32")), tmp_path, seed)
    assert ran == ["QLinearAveragePool"]
    assert said or not differ


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_the_same_sum_quantized_twice_has_the_runtimes_kernels(
    dtype: str, tmp_path: Path, seed: int
) -> None:
    """Each sum has dequantizers of its own before equal nodes are made one, so both stay."""
    n = Net(dtype)
    x, zero = n.qdq(n.input("x", (64,)), Q(dtype, 2.0**-5, 0)), 40 if dtype == "int8" else 167
    y = n.qdq(n.do("Neg", x), Q(dtype, 2.0**-5, zero))
    sums = [n.qdq(n.do("Add", x, y), Q(dtype, float(np.float32(s)), zero)) for s in (0.05, 0.07)]
    ran, said, differ = outcome(n.model(*((out, 2, "float32") for out in sums)), tmp_path, seed)
    assert ran.count("QLinearAdd") == (2 if dtype == "uint8" else 0)
    assert (said, differ) == ("", 0)


@pytest.mark.parametrize("kernel", [1, 2])
def test_an_average_of_exact_reals_in_a_scale_that_is_none_is_followed_or_announced(
    kernel: int, tmp_path: Path, seed: int
) -> None:
    """The runtime divides by the scale 0.3: 2.25 / 0.3 lies below the tie 7.5 in float32."""
    n = Net()
    x = n.qdq(n.input("x", (2, 8, 8)), Q("uint8", 2.0**-5, 128))
    pooled = n.do("AveragePool", x, kernel_shape=[kernel, kernel], strides=[2, 2])
    out = n.qdq(pooled, Q("uint8", float(np.float32(0.3)), 0))
    ran, said, differ = outcome(n.model((out, 4, "float32")), tmp_path, seed)
    assert "QLinearAveragePool" in ran
    assert said and differ < 300


def test_a_pool_behind_factors_along_the_width_sees_the_map(tmp_path: Path, seed: int) -> None:
    """With one channel the order of the codes is the same, the shape of the edge is not."""
    n = Net()
    row = n.constant("k", np.float32([-0.7, 0.4, 0.9]))
    x = n.round(n.do("Relu", n.do("Sub", row, n.start(1, 3, 3))), 0.02)
    pooled = n.do("MaxPool", x, kernel_shape=[1, 2], strides=[3, 3])
    _, said, differ = outcome(n.model((n.round(pooled, 0.02), 4, "float32")), tmp_path, seed)
    assert said or not differ  # and the shapes are equal
    assert differ < 10


def test_an_alpha_that_no_scale_can_hold_is_announced(tmp_path: Path, seed: int) -> None:
    said_once = False
    for number in range(12):
        n = Net(seed=number)
        x = n.qdq(n.input("x", (12,)), Q("uint8", float(np.float32(0.2810938)), 128))
        out = n.do("Gemm", x, n.kernel((12, 7), 1, 7), alpha=0.37)
        _, said, differ = outcome(n.model((out, 2, "float32")), tmp_path, seed)
        assert said or not differ
        said_once |= "last bit" in said
    assert said_once


def test_last_bits_of_layers_joined_at_the_end_are_announced(tmp_path: Path, seed: int) -> None:
    """Sums of layers with a real bias, of one scale, side by side in the last Concat."""
    n = Net()
    x, heads = n.start(12), []
    for k in range(2):
        weights = replace(
            n.weights((12, 7), 1, pow2=False, dtype="int8"), scale=np.float32([0.004])
        )
        bias = n.constant(f"bias{k}", np.full(7, 0.3, np.float32))
        heads.append(n.do("Gemm", x, weights.real(n, f"w{k}", 1), bias))
    model = n.model((n.do("Concat", *heads, axis=1), 2, "float32"))
    _, said, differ = outcome(model, tmp_path, seed)
    assert differ and said.count("last bits") == 2


@pytest.mark.parametrize("pairs", [2, 3])
def test_rows_of_three_pairs_before_what_quantizers_move_over_are_refused(
    pairs: int, tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.input("x", (3, 4))
    for scale, zero in ((2.0**-5, 0), (0.06, -38), (0.17, 22))[:pairs]:
        x = n.qdq(x, Q("int8", float(np.float32(scale)), zero))
    model = n.model((n.do("Reshape", x, n.ints(-1, 12)), 2, "float32"))
    if pairs == 2:
        _, said, differ = outcome(model, tmp_path, seed)
        assert said or not differ
        return
    with pytest.raises(HwsimError, match=r"Reshape .* must be quantized once, not three times"):
        load(model, tmp_path)
