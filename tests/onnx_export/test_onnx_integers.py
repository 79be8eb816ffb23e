"""Plain ONNX operators give a Graph's integers in every runtime, whatever the Graph is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support.cases import CASES
from support.cli_calls import refused, run, tiny
from support.mixed_networks import mixed
from support.onnx_run import session_of
from support.seeds import seeded
from support.small_graphs import one
from support.streams import STREAMS

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.float_steps import FloatStep, RowStep, UnaryStep
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.onnx_export import proof, to_model
from hwsim.onnx_export.write import written_as_integers
from hwsim.ops import Cast, Quant, TensorType


def by_name(graph: Graph, made: Any) -> dict[str, np.ndarray]:
    return made if isinstance(made, dict) else {graph.outputs[0].name: made}


def fed(model: onnx.ModelProto, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kinds = {port.name: port.type.tensor_type.elem_type for port in model.graph.input}
    return {
        name: array.astype(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]))
        for name, array in codes.items()
    }


def by_runtime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session, _ = session_of(model, optimize=True)
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def by_evaluator(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [port.name for port in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))


def different(want: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> int:
    assert all(got[name].shape == want[name].shape for name in want)
    return sum(int(np.count_nonzero(got[name] != want[name])) for name in want)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_operator_is_written_and_two_executors_give_its_codes(case):
    graph = case.graph()
    model = hwsim.to_onnx(graph, integers=True, samples=0)
    codes = case.inputs(5, seeded(7))
    want, feeds = by_name(graph, hwsim.emulate(graph, codes, codes=True)), fed(model, codes)
    assert different(want, by_runtime(model, feeds)) == 0
    assert different(want, by_evaluator(model, feeds)) == 0


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_of_all_operators_are_written_with_their_codes(seed):
    graph = mixed(seeded(900 + seed))
    _, facts = to_model(graph, integers=True, samples=9)
    assert facts["check"]["compared"] >= 9


def test_one_bit_of_a_weight_is_noticed_by_the_check():
    model, _ = to_model(tiny(), integers=True)
    held = next(c for c in model.graph.initializer if c.data_type == onnx.TensorProto.UINT8)
    held.raw_data = bytes([held.raw_data[0] ^ 1, *held.raw_data[1:]])
    draft = written_as_integers(tiny(), integers=True)
    with pytest.raises(HwsimError, match="output 'y' must be the same in ONNX Runtime"):
        proof.check(tiny(), draft, model, 8, "integer", integers=True)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.id)
def test_state_is_an_input_and_an_output_more(stream):
    graph = stream.graph()
    model, facts = to_model(graph, integers=True, samples=4)
    assert facts["check"]["compared"] >= 4 * proof.STEPS
    names = {port.name for port in model.graph.output}
    assert {state.name + ".next" for state in graph.state} <= names


PORTS = {
    "scale": {"type": TensorType((3, 4), Format.uint(8), Quant((0.037,), 131))},
    "zero-first": {
        "type": TensorType((3, 4), Format.int(8), Quant((0.11,), -7)),
        "zero_point_first": True,
    },
    "power-of-two": {"type": TensorType((3, 4), Format.parse("s9.5")), "rounding": Rounding.TRN},
    "wraps": {"type": TensorType((3, 4), Format.parse("s6.2")), "overflow": Overflow.WRAP},
    "wide": {"type": TensorType((3, 4), Format.parse("s30.12"))},
    "codes": {"type": TensorType((3, 4), Format.uint(8)), "element": "uint8"},
    "turned": {"type": TensorType((2, 3, 4), Format.int(8)), "axes": (2, 0, 1)},
    "flat": {"type": TensorType((2, 3, 4), Format.int(8)), "axes": (1, 0, 2), "shape": (24,)},
    "steps": {
        "type": TensorType((3, 4), Format.uint(8), Quant((1 / 255,), 0)),
        "steps": (FloatStep(op="mul", values=(0.5,)), FloatStep(op="add", values=(0.25,))),
    },
}


@pytest.mark.parametrize("fields", PORTS.values(), ids=PORTS)
def test_reals_become_codes_as_the_port_says(fields):
    port = InputPort(name="x", tensor="x", **fields)
    graph = Graph((port,), (), (OutputPort(name="y", tensor="x", element=None),))
    model = hwsim.to_onnx(graph, samples=0)
    (seen,) = [[d.dim_value for d in p.type.tensor_type.shape.dim] for p in model.graph.input]
    rng = np.random.default_rng(seeded(3))
    reals = rng.normal(size=(50, *seen[1:])) * 3 * max(port.type.magnitude, 1)
    x = (reals * port.type.scales()[0]).astype(np.float32)
    if port.element:
        x = rng.integers(0, 256, x.shape).astype(np.uint8)
    want = {"y": hwsim.emulate(graph, x)}
    assert different(want, by_runtime(model, {"x": x})) == 0
    assert different(want, by_evaluator(model, {"x": x})) == 0


def test_codes_become_what_the_output_shows():
    cast = Cast(out=Format.parse("s5.2"), rounding=Rounding.RND, overflow=Overflow.SAT)
    graph = one(cast, x=TensorType((3, 4), Format.parse("s8.4")))
    (node,) = graph.nodes
    ways = {
        "codes": {"element": "int8"},
        "reals": {"reals": tuple(float(np.float32(np.tanh(k / 9))) for k in range(-16, 16))},
        "turned": {"axes": (1, 0)},
        "scaled": {"steps": (FloatStep(op="mul", values=(0.3,)),)},
        "softmax": {"steps": (RowStep(op="softmax", axes=(1,)),)},
        "sigmoid": {"steps": (UnaryStep(op="sigmoid"),)},
    }
    ports = tuple(OutputPort(name=n, tensor=node.output, **fields) for n, fields in ways.items())
    graph = replace(graph, outputs=ports)
    model, facts = to_model(graph)
    x = np.linspace(-9, 9, 24, dtype=np.float32).reshape(2, 3, 4)
    want = hwsim.emulate(graph, x)
    got = by_runtime(model, {"x": x})
    for name in ("codes", "reals", "turned", "scaled"):
        assert np.array_equal(want[name], got[name]) and want[name].dtype == got[name].dtype
    assert {"Softmax", "Sigmoid"} <= facts["nodes"].keys()
    assert np.allclose(want["softmax"], got["softmax"], atol=1e-6)
    assert facts["check"]["compared"] == 16 * 12 * len(ways)  # codes of the last two


@dataclass(frozen=True, slots=True)
class Odd(Cast):
    """An operator whose text needs a function that the recorder does not know."""

    kind: ClassVar[str] = "odd"

    def run(self, xp: Any, xs: Any, k: Any) -> Any:
        return xp.arctan2(xs[0], xs[0])


def test_what_has_no_like_is_named_all_at_once(tmp_path):
    odd = Odd(out=Format.int(8))
    graph = one(odd, odd, x=TensorType((4,), Format.int(8)))
    out = tmp_path / "odd.onnx"
    with pytest.raises(HwsimError, match="'arctan2'") as error:
        hwsim.to_onnx(graph, out)
    assert str(error.value).count("(odd)") == 2 and not out.exists()


def test_the_command_writes_the_file_whole_and_says_what_ran_it(tmp_path, capsys):
    tiny().save(tmp_path / "tiny.hwsim")
    out = tmp_path / "tiny.onnx"
    status, said, _ = run(capsys, "to-onnx", tmp_path / "tiny.hwsim", "-o", out, "--check", "5")
    assert status == 0 and "the same 10 numbers in ONNX Runtime" in said
    x = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    want = {"y": hwsim.emulate(tiny(), x)}
    assert different(want, by_runtime(onnx.load(out), {"x": x})) == 0


def test_a_form_that_is_none_is_refused_and_nothing_is_written(tmp_path, capsys):
    tiny().save(tmp_path / "tiny.hwsim")
    out = tmp_path / "tiny.onnx"
    said = refused(capsys, "to-onnx", tmp_path / "tiny.hwsim", "-o", out, "--as", "tflite")
    assert said.startswith("an ONNX file must be written as integer") and not out.exists()
