"""The parts of a layer's error: what plain NumPy finds, and together the whole of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support.attributed import (
    MODELS,
    SEEN,
    chain,
    layer,
    quantized,
)

import hwsim
from hwsim.compress.attribution.chain import CodeEnds, split
from hwsim.compress.attribution.counterparts import counterparts
from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.compress.attribution.places import layer_places
from hwsim.compress.attribution.tally import LayerTally
from hwsim.compress.float_model import FloatModel
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.ops import Stepwise


def rms(array: np.ndarray) -> float:
    return float(np.sqrt((array * array).mean()))


def test_the_parts_of_a_layer_are_those_that_plain_numpy_finds(rng):
    graph, proto, v = chain(rng)
    x = rng.normal(0, 1.2, (300, 6)).astype(np.float32)
    found = hwsim.attribute(graph, proto, x)
    with pytest.warns(hwsim.InputSaturation):
        edges = hwsim.trace(graph, x)
    given, codes = edges["x"] / 16, edges["h.quantized"] / 4
    plain = x.astype(np.float64) @ v["w1"] + v["b1"]
    inherited = given @ v["w1"] + v["b1"]
    weights = given @ v["w1_int"] + v["b1"]
    bias = given @ v["w1_int"] + v["b1_int"]
    kept = np.clip(bias, -4, 3.75)
    beyond = (bias > 3.75 + 0.125) | (bias < -4 - 0.125)
    kept = np.where(beyond, kept, bias)
    assert beyond.any()
    wanted = {
        "input": inherited - plain,
        "weights": weights - inherited,
        "bias": bias - weights,
        "saturation": kept - bias,
        "rounding": codes - kept,
    }
    h = layer(found, "h.quantized")
    for name, part in h.parts.items():
        assert part.rms == pytest.approx(rms(wanted.get(name, np.zeros(1))), abs=1e-6), name
        if name in wanted:
            assert part.largest == pytest.approx(float(np.abs(wanted[name]).max()), abs=1e-5)
    noise = 10 * np.log10((plain**2).sum() / ((codes - plain) ** 2).sum())
    assert h.sqnr_db == pytest.approx(noise, abs=1e-4)
    assert h.saturated == np.count_nonzero(beyond)
    ends = edges["h.quantized"]
    assert (h.at_low, h.at_high) == (np.count_nonzero(ends == -16), np.count_nonzero(ends == 15))
    assert [one.edge for one in found.layers] == ["x", "h.quantized", "y"]
    assert sum(one.share_of_output for one in found.layers) == pytest.approx(1)


def test_a_stepwise_accumulator_is_a_part_of_its_own(rng):
    graph, proto, v = chain(rng)
    dense = graph.node("h").op
    steps = Stepwise(format=Format(True, 5, 3), rounding=Rounding.TRN, overflow=Overflow.WRAP)
    graph = graph.with_op("h", replace(dense, accumulator=steps))
    x = rng.normal(0, 0.7, (200, 6)).astype(np.float32)
    edges = hwsim.trace(graph, x)
    exact = edges["x"] / 16 @ v["w1_int"] + v["b1_int"]
    found = layer(hwsim.attribute(graph, proto, x), "h.quantized")
    lost = edges["h"] / 8 - exact
    assert rms(lost) > 0.05
    assert found.parts["sums"].rms == pytest.approx(rms(lost), abs=1e-6)
    assert found.blamed == "sums"


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip", "w3a4"])
def test_the_parts_sum_to_the_error_of_each_element_exactly(name):
    file = "digits_dw_skip" if name == "w3a4" else name
    floats = FloatGraph(FloatModel.read(MODELS / f"{file}.float.onnx"))
    source = quantized(name, floats.model.path) if name == "w3a4" else MODELS / f"{name}.onnx"
    graph = hwsim.load(source)
    x = SEEN[:24]
    codes = hwsim.trace(graph, x)
    names = [one for one in floats.tensors if one != "image"]
    tensors = {"image": x, **floats.model.runner(names)({"image": x})}
    found = counterparts(graph, floats, codes, tensors)
    places = layer_places(graph, floats, found, {graph.outputs[0].tensor})
    assert len(places) > 4
    for place in places:
        error = LayerTally(floats, place).split(codes, tensors)
        total = sum(error.parts.values())
        assert total.tolist() == error.total.tolist()
        ours, theirs = place.at.reals(codes), np.asarray(tensors[place.at.tensor], np.float64)
        assert np.abs(error.total - (ours - theirs)).max() <= np.abs(ours).max() * 2.0**-44
        some = [part.reshape(-1)[:50].tolist() for part in error.parts.values()]
        whole = error.total.reshape(-1)[:50].tolist()
        assert [sum(map(Fraction, row)) for row in zip(*some, strict=True)] == whole


def test_parts_that_are_not_on_one_grid_would_not_sum_exactly(rng):
    stages = {"float": rng.normal(size=9), "input": rng.normal(size=9) * 1e-9}
    made, ends = np.zeros(9), CodeEnds(np.full(9, -4.0), np.full(9, 3.0), np.ones(9))
    error = split(stages, made, ends, tables=False)
    assert sum(error.parts.values()).tolist() == error.total.tolist()
    loose = [stages["input"] - stages["float"], made - stages["input"]]
    assert sum(Fraction(p[0]) for p in loose) != Fraction(0.0) - Fraction(stages["float"][0])


@pytest.mark.parametrize(
    ("last", "made", "tables", "part"),
    [
        (9.0, 3.0, False, "saturation"),
        (9.0, 3.0, True, "saturation"),
        (3.875, -4.0, False, "saturation"),  # it wraps
        (1.25, 1.0, False, "rounding"),
        (1.875, 1.0, False, "rounding"),  # truncated
        (1.5, 1.0, True, "rounding"),
        (1.5, 2.0, True, "rounding"),
        (3.375, 3.0, True, "rounding"),
        (1.0, 3.0, True, "table"),
        (1.0, 3.0, False, "arithmetic"),
    ],
)
def test_one_number_is_put_down_to_one_part(last, made, tables, part):
    ends = CodeEnds(*(np.array([end]) for end in (-4.0, 3.0, 1.0)))
    error = split({"float": np.array([last])}, np.array([made]), ends, tables=tables)
    assert {n: p.tolist() for n, p in error.parts.items() if p.any()} == {part: [made - last]}
