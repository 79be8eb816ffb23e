"""What is said beside a wrong shape and beside an input that saturates."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from support.build_folders import write_folder

import hwsim
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Relu, TensorType
from hwsim.ops.base import Quant
from hwsim.ports import Axes
from hwsim.saturation import InputSaturation
from hwsim.verification import prepare

NCHW, NHWC = (2, 0, 1), None


def graph(kind: TensorType, axes: Axes | None = NHWC, **port) -> Graph:
    """A ReLU of one input."""
    source = InputPort(name="x", tensor="x", type=kind, axes=axes, **port)
    return Graph((source,), (Node("r", Relu(), ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


@pytest.mark.parametrize(
    ("layout", "given"),
    [
        (NCHW, (5, 8, 6, 3)),  # NHWC
        (NCHW, (8, 6, 3)),  # one sample in NHWC
        (NCHW, (3, 8, 6)),  # no batch axis
        (NCHW, (5, 144)),
        (NCHW, (144,)),
        (NHWC, (5, 3, 8, 6)),  # NCHW
        (NHWC, (3, 8, 6)),
        (NHWC, (8, 6, 3)),
    ],
)
def test_the_hint_beside_a_wrong_shape_makes_it_right(layout, given):
    net = graph(TensorType((8, 6, 3), Format.int(8)), layout)
    x = np.zeros(given, np.float32)
    with pytest.raises(hwsim.HwsimError) as caught:
        hwsim.emulate(net, x)
    hint = re.search(r"x(\.reshape|\.transpose|\[).*\)?", str(caught.value))
    assert hint, caught.value
    call = re.match(r"x(\[None\])?(\.\w+\([-\d, ]+\))?", hint[0])
    assert call and call[0] != "x"
    assert hwsim.emulate(net, eval(call[0], {"x": x})).shape[0] == (5 if given[0] == 5 else 1)


def test_a_missing_axis_of_one_channel_is_named_and_a_hopeless_shape_has_no_hint():
    net = graph(TensorType((8, 6, 1), Format.int(8)), NCHW)
    with pytest.raises(hwsim.HwsimError, match=r"channel is missing: x\[:, None\]"):
        hwsim.emulate(net, np.zeros((5, 8, 6)))
    with pytest.raises(hwsim.HwsimError, match=r"not \(5, 7\)$"):
        hwsim.emulate(net, np.zeros((5, 7)))


def said(net: Graph, x: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hwsim.emulate(net, x)
    assert all(w.category is InputSaturation and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def test_every_verb_warns_at_the_line_that_called_it(tmp_path):
    net = graph(UNIT)
    net.save(tmp_path / "m.hwsim")
    x = np.full((6, 20), 99, np.float32)
    calls = (
        lambda: hwsim.emulate(tmp_path / "m.hwsim", x),
        lambda: hwsim.trace(net, x),
        lambda: hwsim.accuracy(net, x, [0] * 6),
        lambda: prepare(tmp_path, x),
    )
    write_folder(tmp_path, net)
    for call in calls:
        with pytest.warns(InputSaturation) as caught:
            call()
        assert [(w.filename, w.lineno) for w in caught] == [
            (__file__, call.__code__.co_firstlineno)
        ]


UNIT = TensorType((20,), Format(False, 8, 0), Quant((1 / 255,), 0))


def test_pixels_of_0_to_255_into_a_model_of_0_to_1_are_said_once_a_call():
    x = np.tile(np.linspace(0, 255, 20), (30_000, 1)).astype(np.float32)
    (text,) = said(graph(UNIT), x)
    assert "input 'x': 95.0 % of the values saturate: the model takes 0 to 1" in text
    assert "reach from 0 to 255" in text and "divided by 255" in text
    assert said(graph(UNIT), x / 255) == []


def test_the_share_counts_values_more_than_half_a_step_outside():
    x = np.zeros((10, 20), np.float32)
    x[:, 0] = 1 + 0.49 / 255  # rounds to the largest code itself
    assert said(graph(UNIT), x) == []
    x[:, 0] = 2.0  # 5 % and no more
    assert said(graph(UNIT), x) == []
    x[0, 1] = -1.0
    assert "5.5 % of the values" in said(graph(UNIT), x)[0]
    assert "divided by 255" not in said(graph(UNIT), x)[0]


def test_a_port_that_wraps_is_said_from_the_first_thousandth():
    net = graph(
        TensorType((20,), Format(True, 3, 5)), rounding=Rounding.TRN, overflow=Overflow.WRAP
    )
    x = np.zeros((100, 20))
    x[:2, 0] = 9.0
    assert said(net, x) == []
    x[2, 0] = 9.0
    assert "0.1 % of the values wrap around: the model takes -4 to 3.96875" in said(net, x)[0]


def test_scales_by_channel_have_ends_by_channel():
    quant = Quant((1.0, 0.01), 0)
    net = graph(TensorType((3, 4, 2), Format.int(8), quant), NCHW)
    x = np.zeros((2, 2, 3, 4), np.float32)
    x[:, 0] = 100.0
    assert said(net, x) == []
    x[:, 1] = 2.0
    assert "50.0 % of the values saturate" in said(net, x)[0]


def test_codes_and_empty_batches_never_saturate():
    assert said(graph(UNIT), np.zeros((0, 20))) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hwsim.emulate(graph(UNIT), np.full((2, 20), 255), codes=True)


def test_another_array_namespace_counts_the_same():
    xp = pytest.importorskip("array_api_strict")
    x = np.zeros((10, 20), np.float32)
    x[:, :3] = 2.0
    with pytest.warns(InputSaturation, match=r"15\.0 % of the values saturate"):
        hwsim.emulate(graph(UNIT), xp.asarray(x), xp=xp)


def test_a_trace_says_it_too():
    with pytest.warns(InputSaturation, match=r"100\.0 % of the values") as caught:
        hwsim.trace(graph(UNIT), np.full((2, 20), 9.0))
    assert caught[0].filename == __file__
