"""Layers of hls4ml, many in one project, give the codes of its own compiled simulation."""

from __future__ import annotations

import numpy as np
import pytest
from support.hls4ml_csim import SAMPLES, check, emulated
from support.hls4ml_layer_heads import lines, maps, vectors
from support.hls4ml_layers import dot, pool, upsampling
from support.hls4ml_models import Model, csim

import hwsim
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("hls4ml")


@pytest.mark.parametrize("stream", [False, True])
def test_layers_of_lines_give_csims_codes(stream, tmp_path):
    check(lines(5, stream), tmp_path, stream=stream)


@pytest.mark.slow
# Other seeds make hls4ml's own ap_types abort on an assertion (bits beyond the sign bit).
@pytest.mark.parametrize("seed", [41, 42])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reuse", [0, 1])
def test_layers_of_lines_and_maps_give_csims_codes(seed, stream, reuse, tmp_path):
    options = [{"Strategy": "Resource", "ReuseFactor": r} if reuse else {} for r in (3, 2)]
    check(lines(seed, stream, **options[0]), tmp_path / "lines", stream=stream)
    check(maps(seed, stream, **options[1]), tmp_path / "maps", stream=stream)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50, 53))
def test_layers_of_vectors_and_of_unlike_shapes_give_csims_codes(seed, tmp_path):
    check(vectors(seed), tmp_path)


WHOLE = (
    {"result": "int<6>"},
    {"accum": "int<12>", "result": "fixed<14,9>"},
    {"result": "uint<5>", "weight": "int<4>", "bias": "int<5>"},
    {"accum": "int<5>", "result": "fixed<9,4>", "bias": "int<5>"},
)


def test_whole_number_types_lose_fractions_toward_zero_as_ap_int_does(tmp_path):
    model = Model(1, (6,), given="fixed<12,5>")
    for chosen in WHOLE:
        model.dense("x", 4, {"accum": "fixed<30,12>", **chosen})
    model.activation("x", "relu", {"result": "uint<4>"})
    model.activation("x", "linear", {"result": "int<4>"})
    check(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "stream", "options"),
    [
        (1, False, {}),
        (2, False, {"Strategy": "Resource", "ReuseFactor": 3}),
        (3, True, {}),
        (4, False, {"Strategy": "Resource_Unrolled", "ReuseFactor": 3}),
    ],
)
def test_weights_of_every_kind_give_csims_codes(seed, stream, options, tmp_path, monkeypatch):
    from support.hls4ml_quantizers import weight_kinds

    # hls4ml 1.3 asks NumPy for it when it writes exponents; NumPy 2 has it no more.
    monkeypatch.setattr(np, "product", np.prod, raising=False)
    check(weight_kinds(seed, bits=seed == 1, **options), tmp_path, stream=stream)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 10])
def test_binary_convolutions_give_csims_codes(seed, tmp_path):
    from support.hls4ml_quantizers import binary_lines

    check(binary_lines(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.needs("verilator", "pyosys")
@pytest.mark.parametrize("what", ["lines", "maps", "vectors"])
def test_many_layers_run_in_verilator(what, tmp_path):
    stream = what == "lines"
    model = {
        "lines": lambda: lines(5, stream),
        "maps": lambda: maps(41, stream),
        "vectors": lambda: vectors(50),
    }[what]()
    graph = hwsim.load(model.build(tmp_path / "hls4ml", backend="hwsim", stream=stream))
    hwsim.build(graph, tmp_path / "rtl", rtl_only=True, fps=1000)
    found = hwsim.verify(tmp_path / "rtl", samples=16)
    assert found.ok and found.different == 0 and found.compared > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(Inconsistent s|S)aturation mode")
@pytest.mark.parametrize("seed", [3, 4])
def test_a_format_for_each_element_gives_csims_codes(seed, tmp_path):
    from support.hls4ml_quantizers import heterogeneous

    check(heterogeneous(seed), tmp_path)


def test_elements_without_bits_are_zero_and_need_no_compiler(tmp_path):
    from support.hls4ml_quantizers import quantizer

    model = Model(1, (3,), given="fixed<8,4>")
    kinds = (np.ones((1, 3)), np.array([[4, 0, -2]]), np.array([[3, 1, -5]]))
    quantizer(model, "x", kinds, ("RND", "SAT"))
    graph = hwsim.load(model.build(tmp_path, backend="hwsim"))
    found = hwsim.emulate(graph, np.array([[1.3, 3.0, -2.0], [3.5, 1.0, 1.0]]))
    assert found.tolist() == [[1.5, 0.0, 0.0], [3.5, 0.0, 0.0]]


def test_a_quantizer_has_the_formats_that_passes_leave_not_those_it_was_made_from(tmp_path):
    """hls4ml's bit-exact pass changes the layer, not its attributes; the C++ is of the layer."""
    from support.hls4ml_quantizers import quantizer

    model = Model(1, (2,), given="fixed<8,4>")
    kinds = (np.ones((1, 2), int), np.array([[5, 6]]), np.full((1, 2), 4))
    quantizer(model, "x", kinds, ("TRN", "SAT"))
    built = model.build(tmp_path, backend="hwsim")
    layer = next(one for one in built.get_layers() if one.class_name == "FixedPointQuantizer")
    layer.mask_kbi = np.array([[0, 1]]), np.array([[1, 6]]), np.array([[-1, 4]])
    found = hwsim.emulate(hwsim.load(built), np.array([[3.0, 3.0], [-3.0, -3.0]]))
    assert found.tolist() == [[0.25, 3.0], [0.0, -3.0]]


@pytest.mark.slow
def test_vivados_streamed_broadcast_gives_csims_codes(tmp_path):
    model = Model(9, (3, 4, 2), given="fixed<9,4,RND,SAT>")
    largest = pool(model, "x", "Max", (3, 4), {"result": "fixed<9,4>", "accum": "fixed<9,4>"})
    map_ = model.activation("x", "linear", {"result": "fixed<10,4,RND,SAT>"})
    model.merge(largest, map_, {"result": "fixed<9,5>"}, op="multiply")
    check(model, tmp_path, stream=True, backend="Vivado")


def exact(seed: int) -> Model:
    """A dense layer by distributed arithmetic, whose weights are finer than their type."""
    model = Model(seed, (6,), given="fixed<9,4,RND,SAT>")
    types = {"weight": "fixed<6,2>", "accum": "fixed<8,3>", "result": "fixed<12,5,RND,SAT>"}
    model.dense("x", 4, types, Strategy="distributed_arithmetic")
    for name in ("weight_data", "bias_data"):
        model.layers[1][name] = np.round(model.layers[1][name] * 256) / 256
    return model


def test_distributed_arithmetic_adds_exactly_whatever_accum_t_is(tmp_path):
    model = exact(7)
    x, layer = model.data(SAMPLES), model.layers[1]
    codes = np.clip(np.rint(np.floor(x * 32 + 0.5)), -256, 255)  # fixed<9,4,RND,SAT>
    sums = codes / 32 @ layer["weight_data"] + layer["bias_data"]  # exact in float64
    want = np.clip(np.floor(sums * 128 + 0.5), -2048, 2047)
    graph = hwsim.load(exact(7).build(tmp_path, backend="hwsim"))
    (got,) = emulated(graph, x).values()
    assert (got == want).all()


@pytest.mark.slow
def test_distributed_arithmetic_gives_csims_codes(tmp_path):
    pytest.importorskip("da4ml")
    x = exact(7).data(SAMPLES)
    (got,) = emulated(hwsim.load(exact(7).build(tmp_path / "ours", backend="hwsim")), x).values()
    built = exact(7).build(tmp_path / "theirs")
    (want,) = csim(built, x.astype(np.float64)).values()
    assert (got == want * 128).all()
    with pytest.raises(HwsimError, match=r"must have its weight, which hls4ml takes away"):
        hwsim.load(built)


def test_weights_off_every_grid_are_refused_for_distributed_arithmetic(tmp_path):
    model = exact(7)
    model.layers[1]["weight_data"] = model.layers[1]["weight_data"] / 3
    with pytest.raises(HwsimError, match=r"dense1.*must be whole steps of a power of two"):
        hwsim.load(model.build(tmp_path, backend="hwsim"))


@pytest.mark.parametrize(
    ("backend", "strategy"),
    [("Vitis", "Latency"), ("Vivado", "Latency"), ("hwsim", "Latency"), ("hwsim", "Resource")],
)
def test_compressed_weights_are_refused(backend, strategy, tmp_path):
    model = Model(1, (6,))
    model.dense("x", 4, {}, Strategy=strategy, ReuseFactor=3, Compression=True)
    with pytest.raises(HwsimError, match=r"dense1.* not be compressed: hls4ml 1.3 writes no C\+\+"):
        hwsim.load(model.build(tmp_path, backend=backend))


STOPS = {
    "a stride of its own": (
        lambda model: pool(model, "x", "Max", (3, 3), {}, stride=(1, 1)),
        r"a stride of its size, \(3, 3\), not \(1, 1\)",
    ),
    "padding": (
        lambda model: pool(model, "x", "Average", (3, 3), {}, pads=(1, 1, 1, 1)),
        r"a pool in io_stream must have no padding",
    ),
}


@pytest.mark.parametrize("what", STOPS)
def test_a_streamed_layer_that_csim_stops_at_is_refused(what, tmp_path):
    add, said = STOPS[what]
    model = Model(1, (6, 6, 2), given="fixed<10,4>")
    add(model)
    with pytest.raises(HwsimError, match=said):
        hwsim.load(model.build(tmp_path, stream=True))


def a_quantizer(model: Model) -> None:
    from support.hls4ml_quantizers import quantizer

    quantizer(model, "x", (np.ones((1, 3)), np.array([[4, 3, 5]]), np.ones((1, 3))), ("RND", "SAT"))


@pytest.mark.parametrize(
    ("add", "said"),
    [
        (lambda model: dot(model, "x", model.input("z", (3,), "fixed<8,4>"), {}), "a Dot must"),
        (a_quantizer, "a FixedPointQuantizer must"),
    ],
)
def test_a_layer_without_streamed_cpp_is_refused_in_a_stream(add, said, tmp_path):
    model = Model(1, (3,), given="fixed<8,4>")
    add(model)
    hwsim.load(model.build(tmp_path, backend="hwsim"))
    with pytest.raises(HwsimError, match=said + " be in io_parallel: hls4ml 1.3 has no other"):
        hwsim.load(model.build(tmp_path, backend="hwsim", stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_a_resize_to_another_type_has_no_cpp(stream, tmp_path):
    """hls4ml's inference can leave such a one, behind a pool say: then csim does not compile."""
    from hls4ml.model.types import FixedPrecisionType

    model = Model(1, (6, 6, 2), given="fixed<10,4>")
    name = upsampling(model, "x", (12, 12))
    built = model.build(tmp_path, stream=stream)
    hwsim.load(built)
    built.graph[name].get_output_variable().type.precision = FixedPrecisionType(9, 4)
    with pytest.raises(HwsimError, match=r"of its input's type, s10\.6 TRN WRAP, not s9\.5 TRN"):
        hwsim.load(built)


@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
@pytest.mark.parametrize("how", ["LineBuffer", "Encoded"])
def test_a_line_is_pooled_by_any_stride_unless_it_is_encoded(backend, how, tmp_path):
    model = Model(1, (9, 2), given="fixed<10,4>")
    name = pool(model, "x", "Max", (3,), {}, stride=(2,))
    model.config[name]["ConvImplementation"] = how
    if how == "LineBuffer":
        assert hwsim.load(model.build(tmp_path, stream=True, backend=backend)).outputs
        return
    with pytest.raises(HwsimError, match=r"a stride of its size, \(3,\), not \(2,\)"):
        hwsim.load(model.build(tmp_path, stream=True, backend=backend))


def test_slopes_of_a_wide_type_are_read_where_few_of_their_bits_count(tmp_path):
    """PyTorch's slopes are 0.25 until they are trained, and have the width of their input."""
    for value, counts in ((0.25, True), (0.3, False)):
        model = Model(1, (3,), given="fixed<10,4>")
        data = np.full(3, value)
        model.add("PReLU", ["x"], (3,), {"param": "fixed<42,6>", "result": "fixed<16,6>"},
                  activation="prelu", n_in=3, param_data=data)  # fmt: skip
        built = model.build(tmp_path, backend="hwsim")
        if counts:
            found = hwsim.emulate(hwsim.load(built), np.array([[1.5, -2.0, -0.5]]))
            assert found.tolist() == [[1.5, -0.5, -0.125]]
        else:
            with pytest.raises(HwsimError, match=r"param must have at most 32 bits that count"):
                hwsim.load(built)


def test_a_pointwise_layers_reuse_factor_must_suit_its_terms(tmp_path):
    model = Model(1, (5, 5, 4), given="fixed<10,4>")
    model.conv("x", 3, (1, 1), {}, Strategy="Resource", ReuseFactor=3)
    with pytest.raises(HwsimError, match=r"below the 4 terms of a sum must divide their number"):
        hwsim.load(model.build(tmp_path))


@pytest.mark.parametrize("widths", [[1, 1, 1], [1, 4, 4]])
def test_one_signed_bit_that_saturates_symmetrically_leaves_what_csim_leaves(widths, tmp_path):
    from support.hls4ml_quantizers import quantizer

    model = Model(1, (3,), given="fixed<8,4>")
    kinds = (np.ones((1, 3)), np.array([widths]), np.ones((1, 3)))
    quantizer(model, "x", kinds, ("RND", "SAT_SYM"))
    built = model.build(tmp_path, backend="hwsim")
    if widths == [1, 1, 1]:
        found = hwsim.emulate(hwsim.load(built), np.array([[-3.0, 0.0, 2.0]]))
        assert found.tolist() == [[-1.0, 0.0, 0.0]]
    else:
        with pytest.raises(HwsimError, match=r"one signed bit must not be among wider ones"):
            hwsim.load(built)


def test_one_weight_code_off_is_noticed(tmp_path):
    """The comparison would see a difference: the mutant of the tests above."""
    model, mutant = lines(5, stream=True), lines(5, stream=True)
    layer = next(one for one in mutant.layers if one["class_name"] == "DepthwiseConv1D")
    layer["depthwise_data"] = -layer["depthwise_data"]
    x, name = model.data(50), layer["name"]
    graphs = [hwsim.load(one.build(tmp_path, stream=True)) for one in (model, mutant)]
    ours, other = (emulated(graph, x)[name] for graph in graphs)
    assert (ours != other).any()
