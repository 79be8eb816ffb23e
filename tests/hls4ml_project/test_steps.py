"""Requantizers by any factor, many thresholds and scaled adds are lines that hls4ml can lay."""

from __future__ import annotations

import numpy as np
import pytest
from support.hls4ml_models import csim
from support.seeds import seeded

import hwsim
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.hls4ml_project.steps import Ends
from hwsim.ops import Quant, Requantize, ScaledAdd, Scheme, TensorType, Thresholds

pytestmark = pytest.mark.needs("hls4ml")
SAMPLES = 1000
SHAPE = (3, 4)
WIDTH = 14


def graph(seed: int) -> Graph:
    """Requantizers of one factor and of one a channel, with odd zero points; thresholds; adds."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = []

    def add(op, *sources: str) -> str:
        name = f"{op.kind}{len(nodes)}"
        nodes.append(Node(name, op, sources or ("x",), name))
        return name

    def scaled(width: int, *, single: bool, scheme: Scheme = Scheme.F32_RNE_OUT) -> str:
        out = Format(bool(rng.integers(2)), width, 0)
        zero = int(rng.integers(out.min, out.max + 1))
        factors = 2.0 ** (width - WIDTH) * rng.uniform(0.7, 1.4, 1 if single else SHAPE[-1])
        multiplier = tuple(float(np.float32(f)) for f in factors)
        quant = Quant((0.05,), zero)
        op = Requantize(scheme=scheme, multiplier=multiplier, out=out, zero_point=zero, quant=quant)
        return add(op)

    one, two = scaled(8, single=True), scaled(8, single=False)
    scaled(4, single=False, scheme=Scheme.SINGLE)
    spread = np.linspace(-4000, 4000, 31)[None] * rng.uniform(0.5, 1.5, (4, 1))
    values = np.sort(np.rint(spread + rng.integers(-50, 50, (4, 1))).astype(int), axis=1)
    step = rng.choice([-1, 1, 2], 4)
    add(Thresholds(values=values, base=rng.integers(-9, 9, 4), step=step, out=Format.int(8)))
    values = np.rint(np.linspace(-5000, 5000, 254))[None].astype(int)
    add(Thresholds(values=values, base=[-127], step=[1], out=Format.int(8)))  # one short of 2**8
    for ratios in ((0.5, 0.25), tuple(float(np.float32(r)) for r in rng.uniform(0.3, 1, 2))):
        zero = 2 * int(rng.integers(-9, 9))
        quant = Quant((0.1,), zero)
        offset = float(np.float32(rng.uniform(-20, 20)))
        add(ScaledAdd(ratios=ratios, offset=offset, out=Format.int(8), quant=quant), one, two)
    port = InputPort(name="x", tensor="x", type=TensorType(SHAPE, Format.int(WIDTH)))
    ends = tuple(OutputPort(name=node.output, tensor=node.output) for node in nodes)
    return Graph((port,), tuple(nodes), ends)


def codes_of(made: Graph) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Inputs in all of their range, and what each output's codes are less its zero point."""
    rng = np.random.default_rng(seeded(3))
    x = rng.integers(-(1 << WIDTH - 1), 1 << WIDTH - 1, (SAMPLES, *SHAPE))
    x[: SAMPLES // 2] >>= 2
    found, kinds = planned(made).run({"x": x}), made.types()
    return x, {n: (a - kinds[n].zero_point).reshape(SAMPLES, -1) for n, a in found.items()}


@pytest.mark.parametrize("seed", [1, 2])
def test_lines_are_read_again_as_the_same_codes(seed, tmp_path):
    made = graph(seed)
    x, want = codes_of(made)
    again = hwsim.load(hwsim.to_hls4ml(made, tmp_path, integers=True))
    got = hwsim.emulate(again, x.astype(float))
    for port, array in zip(made.outputs, got.values(), strict=True):
        assert (want[port.name] == array).all() and len(np.unique(array)) > 5, port.name


@pytest.mark.slow
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_lines_give_the_emulators_codes(seed, io_type, tmp_path):
    made = graph(seed)
    x, want = codes_of(made)
    found = csim(
        hwsim.to_hls4ml(made, tmp_path, integers=True, io_type=io_type), x.astype(np.float64)
    )
    for port, array in zip(made.outputs, found.values(), strict=True):
        assert (want[port.name] == array).all(), port.name


def test_thresholds_on_no_line_are_refused_with_their_number(tmp_path):
    values = np.array([[k * k for k in range(31)]])
    op = Thresholds(values=values, base=[0], step=[1], out=Format.uint(5))
    port = InputPort(name="x", tensor="x", type=TensorType((4,), Format.int(12)))
    made = Graph((port,), (Node("t", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    with pytest.raises(HwsimError, match="at most 16 thresholds a channel that lie on no line"):
        hwsim.to_hls4ml(made, tmp_path)


def test_ends_are_those_of_a_type_that_cuts_there():
    for low, high in ((-128, 127), (0, 255), (-57, 198), (-127, 127), (3, 10), (0, 14)):
        ends = Ends.of(low, high)
        assert ends is not None
        fmt = ends.type.format
        least = -fmt.max if ends.type.overflow.value == "SAT_SYM" else fmt.min
        assert (least, fmt.max) == (low + ends.offset, high + ends.offset)
    assert Ends.of(0, 5) is None and Ends.of(0, 0) is None
    even = Ends.of(0, 254, Rounding.RND_CONV, odd=False)
    assert even is None or even.offset % 2 == 0
