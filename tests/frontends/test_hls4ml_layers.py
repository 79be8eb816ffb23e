"""Layers of hls4ml, many in one project, give the codes of its own compiled simulation."""

from __future__ import annotations

import pytest
from support.hls4ml_csim import check, emulated
from support.hls4ml_layer_heads import lines, maps, vectors

import hwsim

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


def test_one_weight_code_off_is_noticed(tmp_path):
    """The comparison would see a difference: the mutant of the tests above."""
    model, mutant = lines(5, stream=True), lines(5, stream=True)
    layer = next(one for one in mutant.layers if one["class_name"] == "DepthwiseConv1D")
    layer["depthwise_data"] = -layer["depthwise_data"]
    x, name = model.data(50), layer["name"]
    graphs = [hwsim.load(one.build(tmp_path, stream=True)) for one in (model, mutant)]
    ours, other = (emulated(graph, x)[name] for graph in graphs)
    assert (ours != other).any()
