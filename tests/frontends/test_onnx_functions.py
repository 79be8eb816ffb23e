"""Functions of one code: ONNX Runtime's codes for all codes, of many scales and zero points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_builder import MICROSOFT, Array
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Relu, Table

TYPES = {"uint8": 2, "int8": 3, "uint16": 4, "int16": 5}


@dataclass
class Chain:
    """Nodes that compute something of one dequantized tensor of all codes, and quantize it."""

    dtype: str
    scale: float
    zero: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def number(self, value: Any, dtype: str = "float32") -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def do(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        out = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, [out], name=f"n{out}", domain=domain, **attributes)
        )
        return out

    def start(self) -> str:
        return self.do(
            "DequantizeLinear", "x", self.number(self.scale), self.number(self.zero, self.dtype)
        )

    def model(self, real: str, scale: float, zero: int, dtype: str) -> onnx.ModelProto:
        given = self.number(scale), self.number(zero, dtype)
        out = self.do("QuantizeLinear", real, *given)
        return self.ending(out, TYPES[dtype])

    def ending(self, out: str, kind: int) -> onnx.ModelProto:
        ports = [
            helper.make_tensor_value_info(name, element, ("n", size) if size else None)
            for name, element, size in (("x", TYPES[self.dtype], self.codes().size), (out, kind, 0))
        ]
        graph = helper.make_graph(self.nodes, "g", ports[:1], ports[1:], self.constants)
        sets = [helper.make_opsetid("", 22), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=sets, ir_version=10)

    def codes(self) -> Array:
        info = np.iinfo(self.dtype)
        return np.arange(info.min, info.max + 1).astype(self.dtype)


Build = Callable[[Chain, str], str]


def node(op: str, domain: str = "", **attributes: Any) -> Build:
    def build(c: Chain, x: str) -> str:
        return c.do(op, x, domain=domain, **attributes)

    return build


def powered(exponent: float) -> Build:
    return lambda c, x: c.do("Pow", x, c.number(exponent))


def silu(c: Chain, x: str) -> str:
    return c.do("Mul", x, c.do("Sigmoid", x))


def quick_gelu(c: Chain, x: str) -> str:
    return c.do("Mul", x, c.do("Sigmoid", c.do("Mul", x, c.number(1.702))))


def mish(c: Chain, x: str) -> str:
    return c.do("Mul", x, c.do("Tanh", c.do("Softplus", x)))


def gelu_as_exported(c: Chain, x: str) -> str:
    """As PyTorch's first exporter takes it apart."""
    share = c.do("Add", c.do("Erf", c.do("Div", x, c.number(1.4142135381698608))), c.number(1))
    return c.do("Mul", c.do("Mul", x, share), c.number(0.5))


def gelu_halved_first(c: Chain, x: str) -> str:
    share = c.do("Add", c.number(1), c.do("Erf", c.do("Mul", x, c.number(0.7071067690849304))))
    return c.do("Mul", c.do("Mul", c.number(0.5), x), share)


def gelu_by_tanh(c: Chain, x: str) -> str:
    """As the first transformers write it."""
    cubed = c.do("Mul", c.do("Pow", x, c.number(3)), c.number(0.044715))
    inner = c.do("Mul", c.do("Add", x, cubed), c.number(0.7978845608))
    share = c.do("Add", c.do("Tanh", inner), c.number(1))
    return c.do("Mul", c.do("Mul", x, c.number(0.5)), share)


def hard_swish(c: Chain, x: str) -> str:
    """As exporters to opsets before 14 take it apart."""
    share = c.do("Clip", c.do("Add", x, c.number(3)), c.number(0), c.number(6))
    return c.do("Div", c.do("Mul", x, share), c.number(6))


def stable_softsign(c: Chain, x: str) -> str:
    return c.do("Div", x, c.do("Add", c.do("Abs", x), c.number(1)))


def squared_relu(c: Chain, x: str) -> str:
    kept = c.do("Relu", x)
    return c.do("Mul", kept, kept)


def larger_half(c: Chain, x: str) -> str:
    return c.do("Max", c.do("Neg", x), c.do("Mul", x, c.number(0.5)))


def gelu_of_a_product(c: Chain, x: str) -> str:
    """Which the runtime takes for a Gelu, that multiplies where this divides."""
    return gelu_halved(c, c.do("Mul", x, c.number(1.3)))


def gelu_halved(c: Chain, x: str) -> str:
    share = c.do("Add", c.do("Erf", c.do("Div", x, c.number(1.4142135381698608))), c.number(1))
    return c.do("Mul", c.do("Mul", x, c.number(0.5)), share)


def gelu_by_tanh_of_a_product(c: Chain, x: str) -> str:
    return gelu_by_tanh(c, c.do("Mul", x, c.number(1.3)))


def softplus_as_exported(c: Chain, x: str) -> str:
    """With a threshold, as PyTorch has it."""
    large = c.do("Greater", c.do("Mul", x, c.number(1)), c.number(3))
    return c.do("Where", large, x, c.do("Softplus", x))


def in_a_band(c: Chain, x: str) -> str:
    above, below = c.do("GreaterOrEqual", x, c.number(-1)), c.do("Less", x, c.number(0.75))
    inside = c.do("And", above, c.do("Not", c.do("Equal", c.do("Floor", x), c.number(0))))
    kept = c.do("Cast", c.do("And", inside, below), to=1)
    return c.do("Mul", c.do("Add", x, c.number(0.3)), kept)


def one_over(c: Chain, x: str) -> str:
    return c.do("Div", c.number(0.7), x)


def logit(c: Chain, x: str) -> str:
    """Not a number for most codes, which get the lowest code."""
    return c.do("Log", c.do("Div", x, c.do("Sub", c.number(1), x)))


EXACT: dict[str, Build] = {
    **{
        name: node(name)
        for name in (
            "Abs", "Ceil", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu",
            "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Softsign", "Sqrt", "Tanh",
            "ThresholdedRelu",
        )
    },
    "Gelu by tanh": node("Gelu", approximate="tanh"),
    "Gelu of com.microsoft": node("Gelu", MICROSOFT),
    "FastGelu": node("FastGelu", MICROSOFT),
    "QuickGelu": node("QuickGelu", MICROSOFT, alpha=1.3),
    "ThresholdedRelu at 0.3": node("ThresholdedRelu", alpha=0.3),
    "HardSigmoid of a line": node("HardSigmoid", alpha=0.31, beta=0.4),
    "square": powered(2),
    "cube": powered(3),
    **{f.__name__.replace("_", " "): f for f in (
        silu, quick_gelu, gelu_as_exported, gelu_halved_first, gelu_by_tanh, hard_swish,
        stable_softsign, squared_relu, larger_half, in_a_band, one_over,
    )},
}  # fmt: skip
ROUGH: dict[str, Build] = {
    **{
        name: node(name)
        for name in (
            "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cos", "Cosh", "Elu", "Log",
            "Mish", "Selu", "Sin", "Sinh", "Softplus", "Tan",
        )
    },
    "Celu of 0.4": node("Celu", alpha=0.4),
    "Elu of 2.3": node("Elu", alpha=2.3),
    "Selu of its own": node("Selu", alpha=1.1, gamma=0.7),
    "root": powered(0.5),
    "inverse square": powered(-2),
    "mish": mish,
    "softplus as exported": softplus_as_exported,
    "gelu of a product": gelu_of_a_product,
    "gelu by tanh of a product": gelu_by_tanh_of_a_product,
    "logit": logit,
}  # fmt: skip


def settings(rng: np.random.Generator, count: int) -> Iterator[tuple[Any, ...]]:
    """Types, scales as drawn or powers of two (so that ties abound), zero points mostly odd."""
    for trial in range(count):
        dtypes = [("uint8", "int8")[trial % 2], ("int8", "uint8")[trial // 2 % 2]]
        scales = [float(np.float32(s)) for s in rng.uniform(0.004, 0.06, 2)]
        if trial % 3 == 2:
            scales = [2.0 ** int(rng.integers(-8, -3)) for _ in range(2)]
        zeros = [int(rng.integers(np.iinfo(d).min, np.iinfo(d).max + 1)) | 1 for d in dtypes]
        yield dtypes, scales, zeros


def outcome(made: onnx.ModelProto, codes: Array, place: Path) -> tuple[hwsim.Graph, int, str]:
    """The graph, how many of its codes are not the runtime's, and what was said."""
    path, feeds = place / "model.onnx", {"x": codes[None]}
    onnx.save(made, path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(path)
    (want,) = run_ort(made, feeds).outputs.values()
    got = hwsim.emulate(graph, feeds)
    texts = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    return graph, int(np.count_nonzero(got != want)), " ".join(texts)


def different(build: Build, place: Path, rng: np.random.Generator, count: int) -> int:
    """Codes that differ in silence, of all codes in so many settings."""
    silent = 0
    for dtypes, scales, zeros in settings(rng, count):
        chain = Chain(dtypes[0], scales[0], zeros[0])
        made = chain.model(build(chain, chain.start()), scales[1], zeros[1], dtypes[1])
        graph, wrong, said = outcome(made, chain.codes(), place)
        assert all(isinstance(n.op, Table | Relu) for n in graph.nodes)
        assert len(graph.nodes) <= 1
        silent += 0 if said else wrong
        assert wrong <= 2, f"{wrong} codes of {dtypes} {scales} {zeros}"
    return silent


@pytest.mark.parametrize("build", EXACT.values(), ids=EXACT)
def test_a_function_of_a_code_is_one_table_of_the_runtimes_codes(build, tmp_path, rng):
    for dtypes, scales, zeros in settings(rng, 12):
        chain = Chain(dtypes[0], scales[0], zeros[0])
        made = chain.model(build(chain, chain.start()), scales[1], zeros[1], dtypes[1])
        graph, wrong, said = outcome(made, chain.codes(), tmp_path)
        assert (wrong, said) == (0, "")
        assert len(graph.nodes) <= 1


@pytest.mark.parametrize("build", ROUGH.values(), ids=ROUGH)
def test_a_function_whose_last_bits_are_others_differs_only_where_it_is_said(build, tmp_path, rng):
    assert different(build, tmp_path, rng, 12) == 0


@pytest.mark.slow
@pytest.mark.parametrize("build", (EXACT | ROUGH).values(), ids=EXACT | ROUGH)
def test_all_codes_of_200_scales_agree(build, tmp_path, rng):
    assert different(build, tmp_path, rng, 200) == 0


@pytest.mark.parametrize("build", EXACT.values(), ids=EXACT)
def test_codes_of_16_bits_go_through_a_table_of_all_of_them(build, tmp_path, rng):
    chain = Chain("int16", 0.0004, -77)
    made = chain.model(build(chain, chain.start()), 0.0003, 311, "int16")
    graph, wrong, said = outcome(made, chain.codes(), tmp_path)
    assert (wrong, said) == (0, "")
    assert len(graph.nodes) <= 1
