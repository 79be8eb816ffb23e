"""Models that move the batch away from the first axis: ONNX Runtime's arrays, of any batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_compare import differences, load
from support.onnx_nets import Net
from support.onnx_run import run_ort
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.onnx import batch_rules
from hwsim.frontends.onnx.batch_reading import Reading

Part = Callable[[Net, str], str]
TOKENS = (4, 8)
pytestmark = [
    pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation"),
    pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference"),
]


def turned(n: Net, x: str, *perm: int) -> str:
    return n.do("Transpose", x, perm=perm)


def shaped(n: Net, x: str, *shape: int) -> str:
    return n.do("Reshape", x, n.ints(*shape))


def weighed(n: Net, x: str, cin: int, cout: int, scale: float = 0.2937) -> str:
    return n.round(n.do("MatMul", x, n.kernel((cin, cout), 1)), scale)


def attended(n: Net, q: str, k: str, v: str, *keys: int) -> str:
    """A softmax of products; `keys` is the permutation that turns keys."""
    weights = n.round(n.do("MatMul", q, turned(n, k, *keys)), 0.4713)
    weights = n.round(n.do("Softmax", weights, axis=-1), 1 / 255, -128)
    return n.round(n.do("MatMul", weights, v), 0.1)


def taken(n: Net, x: str, index: int, axis: int = 0) -> str:
    return n.do("Gather", x, n.constant(n.name("i"), np.array(index)), axis=axis)


def time_first(n: Net, x: str) -> str:
    y = weighed(n, turned(n, x, 1, 0, 2), 8, 6)
    y = n.do("Add", y, n.constant("b", n.rng.normal(0, 1, (4, 1, 6)).astype(np.float32)))
    return turned(n, n.round(n.do("Relu", y), 0.05), 1, 0, 2)


def heads_beside_the_batch(n: Net, x: str) -> str:
    """As nn.MultiheadAttention has them: (time, batch * heads, features)."""
    parts = [shaped(n, weighed(n, turned(n, x, 1, 0, 2), 8, 8), 4, -1, 4) for _ in range(3)]
    q, k, v = (turned(n, part, 1, 0, 2) for part in parts)
    y = shaped(n, turned(n, attended(n, q, k, v, 0, 2, 1), 1, 0, 2), 4, -1, 8)
    return turned(n, y, 1, 0, 2)


def three_in_one(n: Net, x: str) -> str:
    """As vision transformers have them: (3, batch, heads, tokens, features)."""
    y = turned(n, shaped(n, weighed(n, x, 8, 24), -1, 4, 3, 2, 4), 2, 0, 3, 1, 4)
    y = attended(n, taken(n, y, 0), taken(n, y, 1), taken(n, y, 2), 0, 1, 3, 2)
    return shaped(n, turned(n, y, 0, 2, 1, 3), -1, 4, 8)


def windows(n: Net, x: str) -> str:
    """As Swin has them: (batch * windows, tokens, features)."""
    y = turned(n, shaped(n, x, -1, 2, 2, 3, 2, 4), 0, 1, 3, 2, 4, 5)
    y = weighed(n, shaped(n, y, -1, 4, 4), 4, 4)
    y = attended(n, y, y, y, 0, 2, 1)
    y = turned(n, shaped(n, y, -1, 2, 3, 2, 2, 4), 0, 1, 3, 2, 4, 5)
    return shaped(n, y, -1, 4, 6, 4)


def rows(n: Net, x: str) -> str:
    y = n.round(n.do("Gemm", shaped(n, x, -1, 8), n.kernel((8, 5), 1)), 0.3)
    return shaped(n, y, -1, 4, 5)


def computed_shape(n: Net, x: str) -> str:
    y = turned(n, x, 1, 0, 2)
    size = taken(n, n.do("Shape", y), 1)
    count = n.do("Mul", size, n.constant("two", np.array(2)))
    one = n.do("Unsqueeze", count, n.ints(0))
    y = n.do("Reshape", y, n.do("Concat", n.ints(4), one, n.ints(-1), axis=0))
    return turned(n, shaped(n, y, 4, -1, 8), 1, 0, 2)


def small_steps(n: Net, x: str) -> str:
    """Softmax, ReduceMax, Split, Concat, Slice, Squeeze and Unsqueeze beside a moved batch."""
    y = turned(n, x, 2, 0, 1)
    y = n.round(n.do("Softmax", y, axis=0), 1 / 255, -128)
    y = n.round(n.do("Concat", y, y, axis=2), 1 / 255, -128)
    y = n.do("Slice", y, n.ints(1, 0), n.ints(7, 2**63 - 1), n.ints(2, 1))
    y = n.do("Squeeze", n.do("Unsqueeze", y, n.ints(0, 2)), n.ints(0))
    y = n.do("ReduceMax", y, axes=[1, 3], keepdims=0)
    return turned(n, y, 1, 0)


def normed(n: Net, x: str) -> str:
    factor = n.constant("f", n.rng.uniform(0.5, 2, 8).astype(np.float32))
    y = n.do("LayerNormalization", turned(n, x, 1, 0, 2), factor, axis=2)
    return turned(n, n.round(y, 0.03), 1, 0, 2)


CASES: dict[str, tuple[tuple[int, ...], int, Part]] = {
    "time first": (TOKENS, 3, time_first),
    "heads beside the batch": (TOKENS, 3, heads_beside_the_batch),
    "three in one": (TOKENS, 3, three_in_one),
    "windows": ((4, 6, 4), 4, windows),
    "rows": (TOKENS, 3, rows),
    "computed shape": (TOKENS, 3, computed_shape),
    "small steps": (TOKENS, 2, small_steps),
    "normed": (TOKENS, 3, normed),
}  # fmt: skip


def network(shape: tuple[int, ...], rank: int, part: Part, seed: int = 1) -> onnx.ModelProto:
    n = Net(seed=seed)
    return n.model((part(n, n.start(*shape)), rank, "float32"))


def values(shape: tuple[int, ...], samples: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(0, 1, (samples, *shape)).astype(np.float32)}


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_that_moves_gives_the_runtimes_arrays(
    name: str, samples: int, tmp_path: Path
) -> None:
    """Batches of several samples, each of which gives what it gives alone."""
    shape, rank, part = CASES[name]
    model = network(shape, rank, part)
    assert differences(load(model, tmp_path), model, values(shape, samples, seeded(3))) == 0


def test_a_model_of_one_sample_may_say_so_in_its_shapes(tmp_path: Path) -> None:
    """As exporters write it where no axis is free; any axis of 1 might be the batch."""
    n = Net()
    y = n.do("Unsqueeze", n.do("Squeeze", n.start(*TOKENS), n.ints(0)), n.ints(1))
    y = weighed(n, y, 8, 8)
    q = turned(n, shaped(n, y, 4, 4, 2), 1, 0, 2)
    y = shaped(n, turned(n, attended(n, q, q, q, 0, 2, 1), 1, 0, 2), 4, 8)
    y = n.round(n.do("Gemm", shaped(n, shaped(n, y, 1, 4, 8), 4, 8), n.kernel((8, 5), 1)), 0.3)
    model = n.model((turned(n, shaped(n, y, 4, 1, 5), 1, 0, 2), 3, "float32"))
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].Clear()
        port.type.tensor_type.shape.dim[0].dim_value = 1
    graph = load(model, tmp_path)
    several = values(TOKENS, 5, seeded(4))["x"]
    for row in several:
        assert differences(graph, model, {"x": row[None]}) == 0
    alone = [hwsim.emulate(graph, {"x": row[None]}) for row in several]
    assert np.array_equal(hwsim.emulate(graph, {"x": several}), np.concatenate(alone))


class Walk:
    """A random walk of one tensor: its axes as (ahead of the batch, whether it is there, behind).

    Without a batch an axis is as long as the first number.
    """

    def __init__(self, seed: int) -> None:
        self.n, self.rng = Net(seed=seed), np.random.default_rng(seed)
        self.axes = [(1, True, 1), *((int(d), False, 1) for d in self.rng.integers(1, 5, 3))]
        self.tensor = self.n.start(*(size for size, _, _ in self.axes[1:]))

    @property
    def batch(self) -> int:
        return next(i for i, (_, held, _) in enumerate(self.axes) if held)

    def other(self) -> int:
        return int(self.rng.choice([i for i in range(len(self.axes)) if i != self.batch]))

    def reshape(self) -> None:
        sizes = [-1 if held else ahead for ahead, held, _ in self.axes]
        self.tensor = shaped(self.n, self.tensor, *sizes)

    def transpose(self) -> None:
        order = self.rng.permutation(len(self.axes)).tolist()
        self.axes = [self.axes[i] for i in order]
        self.tensor = turned(self.n, self.tensor, *order)

    def merge(self) -> None:
        """The batch with an axis beside it."""
        at = self.batch
        ahead, _, behind = self.axes[at]
        if at and self.rng.random() < 0.5:
            self.axes[at - 1 : at + 1] = [(self.axes[at - 1][0] * ahead, True, behind)]
        elif at + 1 < len(self.axes):
            self.axes[at : at + 2] = [(ahead, True, behind * self.axes[at + 1][0])]
        self.reshape()

    def part(self) -> None:
        """The batch from what is in its axis."""
        ahead, _, behind = self.axes[self.batch]
        around = [(ahead, False, 1)] * (ahead > 1), [(behind, False, 1)] * (behind > 1)
        at = self.batch
        self.axes[at : at + 1] = [*around[0], (1, True, 1), *around[1]]
        self.reshape()

    def largest(self) -> None:
        if len(self.axes) > 2:
            gone = self.other()
            self.tensor = self.n.do("ReduceMax", self.tensor, axes=[gone], keepdims=0)
            del self.axes[gone]

    def gather(self) -> None:
        if len(self.axes) == 1:
            return
        axis = self.other()
        places = self.rng.integers(0, self.axes[axis][0], int(self.rng.integers(1, 5)))
        self.axes[axis] = (len(places), False, 1)
        index = self.n.constant(self.n.name("i"), places)
        self.tensor = self.n.do("Gather", self.tensor, index, axis=axis)

    def grow(self) -> None:
        if len(self.axes) < 6:
            new = int(self.rng.integers(len(self.axes) + 1))
            self.tensor = self.n.do("Unsqueeze", self.tensor, self.n.ints(new))
            self.axes.insert(new, (1, False, 1))

    def home(self) -> None:
        """The batch alone and first, as a port shows it."""
        self.part()
        order = [self.batch, *(i for i in range(len(self.axes)) if i != self.batch)]
        self.axes = [self.axes[i] for i in order]
        self.tensor = turned(self.n, self.tensor, *order)


STEPS = (Walk.transpose, Walk.merge, Walk.part, Walk.largest, Walk.gather, Walk.grow)


def walked(seed: int) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A model of twelve random steps, and the shape of its input."""
    walk = Walk(seed)
    shape = tuple(size for size, _, _ in walk.axes[1:])
    for step in walk.rng.integers(len(STEPS), size=12):
        STEPS[step](walk)
    walk.home()
    return walk.n.model((walk.tensor, len(walk.axes), "float32")), shape


@pytest.mark.parametrize("seed", range(25))
def test_random_walks_of_the_batch_end_as_the_runtimes(seed: int, tmp_path: Path) -> None:
    model, shape = walked(seeded(seed))
    assert differences(load(model, tmp_path), model, values(shape, 3, seed)) == 0


@pytest.mark.parametrize("what", ["a Transpose backwards", "a Gather along the axis before"])
def test_a_rule_that_takes_another_axis_is_seen(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The mutants."""

    def backwards(found: Reading) -> Any:
        order = np.argsort(found.node.integers("perm")).tolist()
        node = replace(found.node, attributes={"perm": order})
        return turn(replace(found, node=node))

    def before(found: Reading) -> Any:
        node, place = take(found)
        return replace(node, attributes={"axis": max(node.integer("axis", 0) - 1, 1)}), place

    turn, take = batch_rules.RULES["Transpose"], batch_rules.RULES["Gather"]
    mutant = ("Transpose", backwards) if what.startswith("a T") else ("Gather", before)
    monkeypatch.setitem(batch_rules.RULES, *mutant)
    caught = 0
    for seed in range(12):
        model, shape = walked(seeded(seed))
        try:
            graph = load(model, tmp_path)
            got = hwsim.emulate(graph, values(shape, 3, seed))
            expected = run_ort(model, values(shape, 3, seed)).outputs[graph.outputs[0].name]
            caught += got.shape != expected.shape or not np.array_equal(got, expected)
        except HwsimError:
            caught += 1
    assert caught >= 3


def mixing(op: str, **attributes: Any) -> Part:
    return lambda n, x: n.do(op, turned(n, x, 1, 0, 2), **attributes)


REFUSED: dict[str, tuple[Part, str]] = {
    "an output": (
        lambda n, x: turned(n, x, 1, 0, 2),
        r"output 'transpose1': its first axis must be the batch alone; a Transpose",
    ),
    "a maximum of samples": (
        mixing("ReduceMax", axes=[1]),
        r"ReduceMax 'reducemax2': it must keep samples apart, not work along axis 1; the batch is",
    ),
    "a maximum of all": (mixing("ReduceMax"), r"so its 'axes' must be given"),
    "a softmax of samples": (mixing("Softmax", axis=-2), r"not work along axis -2"),
    "a norm of samples": (
        lambda n, x: n.do(
            "LayerNormalization", turned(n, x, 1, 0, 2), n.constant("f", np.ones(8)), axis=0
        ),
        r"it must not normalize along samples",
    ),
    "a sum with the tensor itself": (
        lambda n, x: n.do("Add", turned(n, x, 1, 0, 2), x),
        r"Add 'add2': its tensors must hold their batch alike, which 'x_dq' does not",
    ),
    "constants for some samples": (
        lambda n, x: n.do(
            "Add", turned(n, x, 1, 0, 2), n.constant("b", np.ones((4, 3, 1), np.float32))
        ),
        r"its constant 'b' of shape \(4, 3, 1\) must broadcast to all samples",
    ),
    "a shape for one batch": (
        lambda n, x: shaped(n, turned(n, x, 1, 0, 2), 4, 3, -1),
        r"must keep the batch whole in one axis, not be \[4, 3, -1\]",
    ),
    "a shape that cuts the batch": (
        lambda n, x: shaped(n, turned(n, x, 1, 0, 2), 8, -1),
        r"must keep the batch whole in one axis, not be \[8, -1\]",
    ),
    "a sample": (lambda n, x: taken(n, turned(n, x, 1, 0, 2), 0, 1), r"must keep samples apart"),
    "a product of samples": (
        lambda n, x: n.do("MatMul", turned(n, x, 0, 2, 1), turned(n, x, 1, 0, 2)),
        r"its product must keep samples apart|hold their batch alike",
    ),
    "a window": (
        lambda n, x: n.do("MaxPool", turned(n, x, 1, 0, 2), kernel_shape=[2]),
        r"MaxPool 'maxpool2': it must have its batch as the first axis; the batch is in axis 1",
    ),
    "one row of all": (lambda n, x: n.do("Squeeze", turned(n, x, 1, 0, 2)), r"'axes' must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_mix_samples_is_refused(name: str, tmp_path: Path) -> None:
    part, said = REFUSED[name]
    with pytest.raises(HwsimError, match=said):
        load(network(TOKENS, 3, part), tmp_path)
