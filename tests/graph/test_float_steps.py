"""Float32 arithmetic at a graph's ends: what it computes, what saves it, who tells of it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import array_api_strict
import numpy as np
import pytest

import hwsim
from hwsim.build_folder import Manifest
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.float_steps import (
    ARITHMETIC,
    NEAREST,
    FloatStep,
    MinifloatStep,
    PortStep,
    RowStep,
    UnaryStep,
    computed,
    narrowed,
)
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Relu, TensorType
from hwsim.ports import channels_first
from hwsim.reporting.facts import describe

F32 = np.float32
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def graph(steps: tuple[PortStep, ...], after: tuple[PortStep, ...] = ()) -> Graph:
    """Images (channels, height, width) that lie channels-last inside."""
    kind = TensorType((4, 5, 3), Format.parse("s8.5"))
    port = InputPort(name="x", tensor="x", type=kind, axes=channels_first(3), steps=steps)
    out = OutputPort(name="y", tensor="y", axes=channels_first(3), steps=after)
    return Graph((port,), (Node("relu", Relu(), ("x",), "y"),), (out,))


def by_channel(op: str, values: tuple[float, ...]) -> FloatStep:
    return FloatStep(op=op, values=values, shape=(3, 1, 1))


STEPS = (
    FloatStep(op="div", values=(255.0,)),
    by_channel("sub", MEAN),
    by_channel("div", SPREAD),
)


def expected(pixels: np.ndarray) -> np.ndarray:
    """In float32, step by step, then to the nearest code, ties to even."""
    x = pixels.astype(F32) / F32(255)
    x = (x - np.array(MEAN, F32)[:, None, None]) / np.array(SPREAD, F32)[:, None, None]
    return np.clip(np.rint(x * F32(32)), -128, 127)


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=lambda xp: xp.__name__)
def test_reals_go_through_the_steps_before_they_are_quantized(xp, rng):
    pixels = rng.integers(0, 256, (40, 3, 4, 5)).astype(np.uint8)
    got = np.asarray(hwsim.emulate(graph(STEPS), xp.asarray(pixels), xp=xp))
    assert np.array_equal(got, np.maximum(expected(pixels), 0) / 32)
    other = (STEPS[0], STEPS[2], STEPS[1])
    assert not np.array_equal(got, np.asarray(hwsim.emulate(graph(other), pixels)))


def test_codes_do_not_go_through_the_steps(rng):
    codes = rng.integers(-128, 128, (9, 3, 4, 5))
    assert np.array_equal(hwsim.emulate(graph(STEPS), codes, codes=True), np.maximum(codes, 0))


def test_an_outputs_reals_go_through_its_steps_and_its_codes_do_not(rng):
    after = (FloatStep(op="sub_from", values=(1.0,)), by_channel("mul", SPREAD))
    codes = rng.integers(-128, 128, (9, 3, 4, 5))
    x = codes.astype(F32) / F32(32)
    want = (F32(1) - np.maximum(x, 0)) * np.array(SPREAD, F32)[:, None, None]
    got = hwsim.emulate(graph((), after), x)
    assert got.dtype == F32 and np.array_equal(got, want)
    assert np.array_equal(hwsim.emulate(graph((), after), codes, codes=True), np.maximum(codes, 0))


def test_steps_are_saved_in_schema_3_and_a_graph_without_them_as_before(tmp_path):
    path = tmp_path / "steps.hwsim"
    for steps, schema in ((STEPS, 3), ((), 1)):
        made = graph(steps, steps)
        made.save(path)
        back = Graph.load(path)
        assert back.document()[0]["schema"] == schema
        assert back.inputs == made.inputs and back.outputs == made.outputs
        assert back.hash() == made.hash()


@pytest.mark.needs("amaranth", "yosys")
def test_a_build_and_inspect_tell_of_the_steps(tmp_path):
    made = graph(STEPS, (FloatStep(op="max", values=(0.5,)),))
    hwsim.build(made, tmp_path / "out", rtl_only=True, fps=1000)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["inputs"][0]["steps"][0] == {"op": "div", "values": [255.0], "shape": []}
    assert Manifest.read(tmp_path / "out").inputs[0].steps[1].shape == (3, 1, 1)
    page = (tmp_path / "out" / "README.md").read_text()
    assert "`x / 255`, then `x - (0.485, 0.456, 0.406)`" in page and "`max(x, 0.5)`" in page
    facts = describe(made)
    assert facts["inputs"][0]["steps"][0] == "x / 255"
    assert facts["outputs"][0]["steps"] == ["max(x, 0.5)"]
    assert "steps" not in describe(graph(()))["inputs"][0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"op": "pow"}, "must be one of add, sub, .*, not 'pow'"),
        ({"values": (1.0, 2.0)}, r"must have 1 values for its shape \(\), not 2"),
        ({"values": (np.inf,)}, "finite float32 constants"),
        ({"values": (1e39,)}, "finite float32 constants"),
        ({"op": "div", "values": (0.0,)}, "none of 0 to divide by"),
    ],
)
def test_a_step_that_is_none_is_refused(fields, said):
    with pytest.raises(HwsimError, match=said):
        FloatStep(**({"op": "add", "values": (1.0,)} | fields))


@pytest.mark.parametrize("shape", [(4,), (2, 4, 5), (1, 3, 4, 5)])
def test_constants_must_broadcast_over_what_the_user_sees(shape):
    step = FloatStep(op="add", values=(1.0,) * int(np.prod(shape)), shape=shape)
    with pytest.raises(HwsimError, match=r"port '[xy]' must have float steps of shapes that br"):
        graph((step,))
    with pytest.raises(HwsimError, match=r"port 'y' must have float steps of shapes that broadc"):
        graph((), (step,))


def test_constants_are_told_by_as_few_axes_as_they_have(rng):
    full = np.broadcast_to(np.array(MEAN, F32)[:, None, None], (3, 4, 5))
    assert narrowed("sub", full) == by_channel("sub", tuple(np.array(MEAN, F32).tolist()))
    assert narrowed("mul", np.full((3, 4), 2)) == FloatStep(op="mul", values=(2.0,))
    x = rng.normal(0, 1, (2, 3, 4, 5)).astype(F32)
    for op in ARITHMETIC:
        assert np.array_equal(computed(np, [narrowed(op, full)], x), ARITHMETIC[op](np, x, full))


ROWS = (RowStep(op="softmax", axes=(0,)), RowStep(op="log_softmax", axes=(1, 2)))


@pytest.mark.parametrize("step", ROWS, ids=str)
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=lambda xp: xp.__name__)
def test_a_step_on_rows_is_that_function_of_its_own_axes(xp, step, rng):
    made = graph((), (step,))
    codes = rng.integers(-128, 128, (9, 3, 4, 5))
    got = np.asarray(hwsim.emulate(made, xp.asarray(codes / 32), xp=xp)).astype(np.float64)
    x = np.maximum(codes / 32, 0)
    along = tuple(axis + 1 for axis in step.axes)
    want = np.exp(x) / np.exp(x).sum(axis=along, keepdims=True)
    want = want if step.op == "softmax" else np.log(want)
    assert np.abs(got - want).max() < 1e-6
    again = graph((), (RowStep(op=step.op, axes=(2,)),))
    assert not np.array_equal(got, hwsim.emulate(again, codes / 32))


def test_steps_on_rows_are_saved_built_and_told(tmp_path):
    made = graph((), ROWS)
    made.save(tmp_path / "rows.hwsim")
    back = Graph.load(tmp_path / "rows.hwsim")
    assert back.outputs == made.outputs and back.document()[0]["schema"] == 3
    told = ["softmax along axis 1", "log_softmax along axes 2, 3"]
    assert describe(made)["outputs"][0]["steps"] == told


@pytest.mark.needs("amaranth", "yosys")
def test_a_build_tells_of_steps_on_rows(tmp_path):
    hwsim.build(graph((), ROWS[:1]), tmp_path / "out", rtl_only=True, fps=1000)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["outputs"][0]["steps"] == [{"op": "softmax", "shape": [], "axes": [0]}]
    assert Manifest.read(tmp_path / "out").outputs[0].steps[0].axes == (0,)
    assert "`softmax along axis 1`" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"op": "softmin"}, "must be one of softmax, log_softmax, not 'softmin'"),
        ({"axes": ()}, "along axes side by side, from 0 on"),
        ({"axes": (0, 2)}, "along axes side by side, from 0 on"),
        ({"axes": (-1,)}, "along axes side by side, from 0 on"),
    ],
)
def test_a_step_on_rows_that_is_none_is_refused(fields, said):
    with pytest.raises(HwsimError, match=said):
        RowStep(**({"op": "softmax", "axes": (0,)} | fields))


def test_a_step_on_rows_must_be_along_axes_that_there_are():
    with pytest.raises(HwsimError, match="port 'y' must have steps along its 3 axes, not along"):
        graph((), (RowStep(op="softmax", axes=(3,)),))


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=lambda xp: xp.__name__)
@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_a_step_on_numbers_is_that_function_of_each(tmp_path, xp, op, rng):
    made = graph((), (UnaryStep(op=op),))
    codes = rng.integers(-128, 128, (9, 3, 4, 5))
    got = np.asarray(hwsim.emulate(made, xp.asarray(codes / 32), xp=xp)).astype(np.float64)
    x = np.maximum(codes / 32, 0)
    want = 1 / (1 + np.exp(-x)) if op == "sigmoid" else np.tanh(x)
    assert np.abs(got - want).max() < 1e-6
    made.save(tmp_path / "numbers.hwsim")
    assert Graph.load(tmp_path / "numbers.hwsim").outputs == made.outputs
    assert describe(made)["outputs"][0]["steps"] == [f"{op}(x)"]
    with pytest.raises(HwsimError, match="must be one of sigmoid, tanh, not 'sinh'"):
        UnaryStep(op="sinh")


SMALL = MinifloatStep(mantissa_bits=1, lowest=-2, highest=24.0)


def nearest(x: Fraction, rounding: Rounding) -> Fraction:
    """The nearest float of SMALL's, by trying all of them."""
    held = [Fraction(k, 8) for k in range(2)]
    held += [Fraction(k, 2) * Fraction(2) ** power for power in range(-2, 5) for k in (2, 3)]
    size = abs(x)
    best = min(abs(size - f) for f in held)
    found = sorted(f for f in held if abs(size - f) == best)
    tie = {Rounding.RND_ZERO: found[0], Rounding.RND_INF: found[-1]}
    places = [held.index(f) for f in found]
    even = held[places[0] if places[0] % 2 == 0 else places[-1]]
    return (1 if x >= 0 else -1) * tie.get(rounding, even)


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=lambda xp: xp.__name__)
@pytest.mark.parametrize("rounding", NEAREST, ids=lambda r: r.name)
def test_a_small_float_is_the_nearest_of_all_there_are(xp, rounding, rng):
    """Ties are met: all numbers between two neighbours are whole sixteenths."""
    x = np.concatenate([np.arange(-450, 451) / 16, rng.normal(0, 6, 300)]).astype(F32)
    step = replace(SMALL, rounding=rounding)
    got = np.asarray(computed(xp, (step,), xp.asarray(x)))
    assert got.tolist() == [float(nearest(Fraction(float(v)), rounding)) for v in x]
    assert len(np.unique(got)) == 31


def test_a_small_float_at_a_port_is_saved_and_told(tmp_path):
    made = graph((FloatStep(op="div", values=(3.0,)), SMALL))
    made.save(tmp_path / "small.hwsim")
    assert Graph.load(tmp_path / "small.hwsim").inputs == made.inputs
    said = "minifloat(x) of 1 mantissa bits behind a leading one, steps from 0.125, up to 24"
    assert describe(made)["inputs"][0]["steps"][1] == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mantissa_bits": 24}, "must have 0 to 23 mantissa bits"),
        ({"lowest": -126}, r"and steps from 2\*\*-126 to 2\*\*127, not 1 and 2\*\*-127"),
        ({"highest": 0.0}, "largest must be above 0, not 0.0"),
        ({"rounding": Rounding.TRN}, "must be rounded to nearest, not by TRN"),
    ],
)
def test_a_small_float_that_there_is_not_is_refused(fields, said):
    with pytest.raises(HwsimError, match=said):
        replace(SMALL, **fields)
