"""What a Graph, a Node, an operator and a Plan look like in a terminal and in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import digits
import numpy as np
import pytest

import hwsim
from hwsim import ops
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.reporting.facts import describe, summary

MODELS = Path(digits.__file__).parent / "models"


@pytest.fixture(scope="module", params=["digits_cnn_int8", "digits_dw_skip"])
def graph(request):
    return hwsim.load(MODELS / f"{request.param}.onnx")


def test_a_graph_is_one_line_of_ports_and_kinds(graph):
    text = repr(graph)
    assert "\n" not in text and len(text) < 300
    coded = graph.inputs[0].type.format
    assert text.startswith(f"Graph(image 1×8×8 {coded} → ") and text.endswith(")")
    for kind in {node.op.kind for node in graph.nodes}:
        count = sum(node.op.kind == kind for node in graph.nodes)
        assert f"{count} {kind}" in text


def test_a_node_is_one_line_without_numbers_of_arrays(graph):
    for node in graph.nodes:
        text = repr(node)
        assert "\n" not in text and len(text) < 500 and "array(" not in text, text
        assert text.startswith(f"Node(name={node.name!r}, op={type(node.op).__name__}(")


def test_an_operator_tells_what_differs_from_its_defaults():
    dense = ops.Dense(
        weights=np.zeros((16, 3), int), bias=np.zeros(3, int), weight_format=Format.int(4)
    )
    assert repr(dense) == "Dense(weights=[16×3], bias=[3], weight_format=s4)"
    assert repr(ops.Relu()) == "Relu()"
    many = ops.Reshape(shape=(1, 2, 3, 4, 5, 6))
    assert repr(many) == "Reshape(shape=(1, 2, … 6 in all))"
    assert repr(ops.Flatten()) == "Flatten()"


def test_every_operator_has_the_short_form():
    kinds = [getattr(ops, name) for name in ops.__all__]
    operators = [
        k for k in kinds if isinstance(k, type) and issubclass(k, ops.Op) and k is not ops.Op
    ]
    assert len(operators) > 12
    assert all(kind.__repr__ is ops.Op.__repr__ for kind in operators)


def test_a_plan_is_one_line_of_multipliers(graph):
    folding = pytest.importorskip("rtl.plan.search")
    plan = folding.plan_for_multipliers(graph, 40)
    text = repr(plan)
    assert "\n" not in text and len(text) < 300
    assert text.startswith(f"Plan({len(graph.nodes)} nodes, {plan.multipliers:,} multipliers: ")
    folds = {n: p.products for n, p in plan.nodes.items() if p.products}
    most = max(folds, key=folds.__getitem__)
    assert f"{most} {folds[most]}" in text


def test_a_build_is_one_line_and_the_dict_of_its_file(tmp_path):
    pytest.importorskip("amaranth")
    made = hwsim.build(MODELS / "digits_dw_skip.onnx", tmp_path / "b", rtl_only=True, fps=100)
    assert made == json.loads((tmp_path / "b" / "build.json").read_text(encoding="utf-8"))
    assert repr(made) == (
        f"Built(digits_dw_skip for ecp5-25k: {made['fps']:,.1f} frames/s at 50 MHz, "
        f"{made['planned_dsp']} DSP planned; hwsim_top.v)"
    )
    placed = type(made)(made | {"dsp": 1234, "bitstream": "top.bit"})
    assert repr(placed).endswith(" at 50 MHz, 1,234 DSP; top.bit)")


def test_a_notebook_shows_the_picture_of_the_report(graph):
    from support.page_html import Balanced

    from hwsim.reporting import picture

    html = graph._repr_html_()
    Balanced().feed(html)
    assert picture.draw(graph) in html and "currentColor" in html
    assert "http" not in html.replace("http://www.w3.org", "") and "<script" not in html


def test_names_of_models_are_text_in_the_picture():
    port = hwsim.InputPort(
        name="<script>alert(1)</script>", tensor="x", type=ops.TensorType((2,), Format.int(8))
    )
    node = hwsim.Node("<b>n</b>", ops.Relu(), ("x",), "y")
    html = hwsim.Graph((port,), (node,), (hwsim.OutputPort(name="y", tensor="y"),))._repr_html_()
    assert html is not None and "<script" not in html and "<b>" not in html


def test_a_port_is_told_in_the_order_and_by_the_names_of_its_user():
    def told(shape: tuple[int, ...], **view: object) -> tuple[str, list[int]]:
        port = hwsim.InputPort(
            name="x", tensor="x", type=ops.TensorType(shape, Format.int(8)), **view
        )
        graph = hwsim.Graph((port,), (), (hwsim.OutputPort(name="y", tensor="x"),))
        (found,) = describe(graph)["inputs"]
        return found["layout"], found["user_shape"]

    assert told((8, 6, 3)) == ("NHWC", [8, 6, 3])
    assert told((8, 6, 3), axes=(2, 0, 1)) == ("NCHW", [3, 8, 6])
    assert told((8, 6, 3), axes=(1, 0, 2)) == ("NWHC", [6, 8, 3])
    assert told((14, 3), axes=(1, 0)) == ("NCW", [3, 14])
    assert told((3,)) == ("NC", [3])
    heads = told((5, 2, 4), axes=(1, 0, 2), names=("heads", "time", "features"))
    assert heads == ("batch heads time features", [2, 5, 4])
    assert told((2, 3, 4, 5, 6), axes=(4, 0, 1, 2, 3)) == ("NC0123", [6, 2, 3, 4, 5])


def test_layers_of_one_axis_and_casts_by_channel_are_told_in_a_few_words():
    conv = ops.Conv1D(
        weights=np.ones((3, 2, 4), int), bias=np.zeros(4, int), weight_format=Format.int(4),
        window=ops.Window((3,), (2,)),
    )  # fmt: skip
    assert summary(hwsim.Node("c", conv, ("x",), "y")) == "conv1d 3 /2, 2 → 4"
    pool = ops.MaxPool(window=ops.Window((2,)))
    assert summary(hwsim.Node("p", pool, ("x",), "y")) == "maxpool 2"
    formats = [Format.int(4), None, Format.int(5), Format.int(4)]
    cast = ops.Cast.by_channel(formats, rounding=Rounding.RND, overflow=Overflow.SAT)
    assert summary(hwsim.Node("q", cast, ("x",), "y")) == "cast by channel, 2 formats"
