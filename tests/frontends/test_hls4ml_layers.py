"""Layers of hls4ml, many in one project, give the codes of its own compiled simulation."""

from __future__ import annotations

import numpy as np
import pytest
from support.hls4ml_csim import check, emulated
from support.hls4ml_layer_heads import lines, maps, vectors
from support.hls4ml_models import Model

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


def test_compressed_weights_are_refused(tmp_path):
    model = Model(1, (6,))
    model.dense("x", 4, {}, Strategy="Resource", ReuseFactor=3, Compression=True)
    with pytest.raises(HwsimError, match=r"dense1.* not be compressed: hls4ml 1.3 writes no C\+\+"):
        hwsim.load(model.build(tmp_path, backend="hwsim"))


def test_one_weight_code_off_is_noticed(tmp_path):
    """The comparison would see a difference: the mutant of the tests above."""
    model, mutant = lines(5, stream=True), lines(5, stream=True)
    layer = next(one for one in mutant.layers if one["class_name"] == "DepthwiseConv1D")
    layer["depthwise_data"] = -layer["depthwise_data"]
    x, name = model.data(50), layer["name"]
    graphs = [hwsim.load(one.build(tmp_path, stream=True)) for one in (model, mutant)]
    ours, other = (emulated(graph, x)[name] for graph in graphs)
    assert (ours != other).any()
