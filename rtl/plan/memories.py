"""The memories of a plan before anything is built: bits exactly, block RAMs by estimate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwsim.forms.adders import TableSum
from hwsim.graph import Graph, Node
from hwsim.ops import AvgPool, Conv2D, MaxPool, ScaledAdd, Stepwise, Table, Transpose, Weighted
from hwsim.ops.base import IntArray, TensorType
from hwsim.ops.window import Window
from rtl.layers.cost import held_format
from rtl.layers.rescale import add_form, rescaler
from rtl.parts.arith import holding
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.requantizer import plan as rescaler_stages
from rtl.parts.window import ring_pixels
from rtl.plan.depths import edge_lanes
from rtl.plan.search import NodePlan, Plan

POINT = Window((1, 1))
BLOCKS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # of a DP16KD
READ_ONLY_BITS = 2048  # for each block RAM: fewer bits become look-up tables
DISTRIBUTED = 20  # 16 x 4 memories for each block RAM: fewer stay distributed


@dataclass(frozen=True, slots=True)
class Memory:
    """Words of so many bits; `written` tells a memory from a table of constants."""

    words: int
    width: int
    written: bool

    @property
    def bits(self) -> int:
        """All bits."""
        return self.words * self.width

    @property
    def blocks(self) -> int:
        """Block RAMs of 18 kbit (ECP5's DP16KD) that Yosys takes for it; 0 where it takes none.

        An estimate: Yosys weighs a block against look-up tables or distributed memory, and its
        weights were found by trial (`tests/test_memories.py`).
        """
        whole = min(-(-self.words // d) * -(-self.width // w) for d, w in BLOCKS)
        if self.written:
            return whole if -(-self.words // 16) * -(-self.width // 4) > DISTRIBUTED * whole else 0
        return whole if self.bits > READ_ONLY_BITS * whole else 0


def memories(graph: Graph, plan: Plan) -> dict[str, tuple[Memory, ...]]:
    """The memories of each node, the FIFOs in front of it among them."""
    lanes, types = edge_lanes(graph, plan), graph.types()
    found = {}
    for node in graph.nodes:
        own = list(_of_node(graph, node, plan.nodes[node.name]))
        for index, edge in enumerate(node.inputs):
            depth = plan.fifos.get((node.name, index))
            own += _fifo(depth or 0, lanes[edge] * types[edge].format.width)
        found[node.name] = tuple(memory for memory in own if memory.bits)
    return found


def _of_node(graph: Graph, node: Node, plan: NodePlan) -> Iterator[Memory]:
    types, out = graph.input_types(node), graph.types()[node.output]
    x, op = types[0], node.op
    match op:
        case Weighted():
            yield from _weighted(op, x, plan)
        case MaxPool() | AvgPool():
            if op.window.kernel != x.shape[:2] or any(op.window.padding):
                yield _ring(op.window, x, plan.lanes)
            if x.channels > plan.lanes:
                yield Memory(x.channels // plan.lanes, plan.lanes * out.format.width, written=True)
        case Transpose():
            yield Memory(2 * x.size, x.format.width, written=True)
        case Table():
            for _ in range(plan.lanes):
                yield Memory(1 << x.format.width, op.out.width, written=False)
        case ScaledAdd():
            form = add_form(op, *types)
            if isinstance(form, TableSum):
                for kind, rows in zip(types, (form.table_a, form.table_b), strict=True):
                    shape = holding(min(*rows, 0), max(*rows, 0))
                    for _ in range(plan.lanes):
                        yield Memory(1 << kind.format.width, shape.width, written=False)
        case _:
            found = rescaler(op, x)
            if found is not None:
                fields, _ = rescaler_stages(found[0], (x.lo, x.hi))
                constants = ChannelConstants(fields, lanes=plan.lanes, channels=found[1])
                if constants.stored:
                    yield Memory(constants.blocks, constants.width, written=False)


def _weighted(op: Weighted, x: TensorType, plan: NodePlan) -> Iterator[Memory]:
    """Window, gathered and replayed vectors, weights and biases of a sum of products."""
    fold = plan.fold
    assert fold is not None
    lanes, bits = fold.group_lanes * fold.simd, x.format.width
    window = op.window if isinstance(op, Conv2D) else POINT
    if plan.parallel_window:
        columns = x.shape[1] + window.padding[1] + window.padding[3] if window != POINT else 1
        if columns > 1 and window.kernel[0] > 1:
            yield Memory(columns, (window.kernel[0] - 1) * x.channels * bits, written=True)
    elif window != POINT:
        yield _ring(window, x, lanes)
    elif fold.output_folds > 1:
        yield from _fifo(fold.group_folds * fold.term_folds, lanes * bits)
    if fold.output_folds > 1 and fold.term_folds > 1:
        yield Memory(fold.term_folds, lanes * bits, written=True)
    if fold.cycles > 1:
        yield Memory(fold.cycles, fold.multipliers * held_format(op, x).width, written=False)
    turns = fold.group_folds * fold.output_folds
    if turns > 1:
        bias = _held_bias(op, x)
        shape = holding(min(int(bias.min()), -1), max(int(bias.max()), 0))
        yield Memory(turns, plan.lanes * shape.width, written=False)


def _held_bias(op: Weighted, x: TensorType) -> IntArray:
    return op.steps(x).bias if isinstance(op.accumulator, Stepwise) else op.aligned(x)[1]


def _ring(window: Window, x: TensorType, lanes: int) -> Memory:
    """The rows that a serial window holds."""
    height, width, channels = x.shape
    words = ring_pixels(window, (height, width, channels)) * (channels // lanes)
    return Memory(words, lanes * x.format.width, written=True)


def _fifo(depth: int, bits: int) -> list[Memory]:
    """Beats of codes and the mark of a tensor's end; a single one is a register."""
    return [Memory(depth, bits + 1, written=True)] if depth > 1 else []
