"""`hwsim inspect`: rounding, weights, state, hardware; the operators of a model that is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.cases import CASES
from support.cli_calls import refused, run
from support.published import folder
from support.streams import STREAMS

from hwsim.ops import Cast, Requantize
from hwsim.reporting.facts import describe
from rtl.layers.table import unsupported


def seen(capsys, model, *more) -> dict:
    status, out, _ = run(capsys, "inspect", model, "--json", *more)
    assert status == 0
    return json.loads(out)


def test_every_operator_that_rounds_says_how():
    silent = {
        case.op.kind for case in CASES if describe(case.graph())["nodes"][0]["rounding"] is None
    }
    assert not silent & {"cast", "requantize", "quotient", "share", "divide", "scaled_add", "rsqrt"}
    for case in CASES:
        told = describe(case.graph())["nodes"][0]["rounding"]
        if isinstance(case.op, Cast):
            assert told == f"{case.op.rounding.value} {case.op.overflow.value}"
        if isinstance(case.op, Requantize):
            assert told.startswith(case.op.scheme.value)


@pytest.mark.parametrize("case", [case for case in CASES if not case.built][:6], ids=lambda c: c.id)
def test_what_has_no_hardware_is_named_with_its_reason(case, tmp_path, capsys):
    case.graph().save(tmp_path / "m.hwsim")
    facts = seen(capsys, tmp_path / "m.hwsim")
    (found,) = unsupported(case.graph())
    assert facts["hardware"]["unsupported"] == [
        {"name": "op", "kind": case.op.kind, "why": found.why}
    ]
    assert "without hardware" in run(capsys, "inspect", tmp_path / "m.hwsim")[1]


def test_state_and_weights_are_counted_in_bits(tmp_path, capsys):
    graph = STREAMS[0].graph()
    graph.save(tmp_path / "m.hwsim")
    totals = seen(capsys, tmp_path / "m.hwsim")["totals"]
    assert totals["state_bits"] == sum(s.type.size * s.type.format.width for s in graph.state) > 0
    assert "state: " in run(capsys, "inspect", tmp_path / "m.hwsim")[1]


def lstm(path) -> None:
    """A model with an operator that no handler reads, between others."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 4]), ("y", [3, 1, 1, 5]))
    ]
    scale = onnx.numpy_helper.from_array(np.array(0.1, np.float32), "s")
    zero = onnx.numpy_helper.from_array(np.array(0, np.int8), "z")
    shapes = {"w": (1, 20, 4), "r": (1, 20, 5)}
    held = [onnx.numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "back"),
        helper.make_node("LSTM", ["d", "w", "r"], ["y"], "cell", hidden_size=5),
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [scale, zero, *held])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def test_of_a_model_that_is_refused_the_operators_are_listed_with_status_1(tmp_path, capsys):
    lstm(tmp_path / "m.onnx")
    status, out, err = run(capsys, "inspect", tmp_path / "m.onnx", "--json")
    facts = json.loads(out)
    assert status == 1 and "LSTM ('cell')" in facts["unread"] and facts["unread"] in err
    why = {row["operator"]: row["why"] for row in facts["operators"]}
    assert why["QuantizeLinear"] is None and "write its steps out" in why["LSTM"]
    status, out, _ = run(capsys, "inspect", tmp_path / "m.onnx")
    assert status == 1 and "cannot be read" in out and out.index("LSTM") < out.index("Quantize")


def test_a_file_that_does_not_parse_is_a_bad_call(tmp_path, capsys):
    for name in ("m.onnx", "m.tflite", "m.hwsim", "m.xml", "m.pt2"):
        (tmp_path / name).write_bytes(b"nothing")
        assert name in refused(capsys, "inspect", tmp_path / name)


@pytest.mark.needs("models")
def test_published_files_of_every_kind_are_inspected(capsys):
    for name in ("tflite/kws_ref_model.tflite", "qonnx/TFC_2W2A.onnx"):
        facts = seen(capsys, folder() / name)
        assert facts["totals"]["weight_bits"] > 0 and facts["hardware"]["unsupported"] is not None
    assert seen(capsys, folder() / "tflite/kws_ref_model.tflite", "--like", "xnnpack")["nodes"]
