"""Without some channels a network has the codes of the whole one that finds real zero in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.mixed_networks import Mixed, each_code, met, mixed, moved, pool, reduced, sums

import hwsim
from hwsim.compress.prune import rules
from hwsim.compress.prune.masks import parse_pattern, weighted_layers
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.compress.prune.shrink import ChannelGroup, ChannelMap
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.emulator.run import emulate, planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    BatchNorm,
    Cast,
    Concat,
    Conv2D,
    Dense,
    Mul,
    Op,
    Quant,
    Requantize,
    ScaledAdd,
    Scheme,
    Table,
    TensorType,
    Weighted,
    Window,
)

NETWORKS = 80
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
Codes = dict[str, np.ndarray]


def forced(graph: Graph, codes: Codes, zero: Mapping[str, np.ndarray]) -> Codes:
    """Every edge's codes, node by node; layers find their real zero where `zero` of their input."""
    edges = dict(codes)
    for node in graph.nodes:
        types, xs = list(graph.input_types(node)), [edges[edge] for edge in node.inputs]
        if isinstance(node.op, Weighted) and zero[node.inputs[0]].any():
            xs[0] = np.where(zero[node.inputs[0]], node.op.zero_point, xs[0])
            types[0] = replace(types[0], range=None)
        given = {f"i{k}": kind for k, kind in enumerate(types)}
        alone = Graph(
            tuple(InputPort(name=e, tensor=e, type=kind) for e, kind in given.items()),
            (Node(node.name, node.op, tuple(given), node.outputs),),
            tuple(OutputPort(name=edge, tensor=edge) for edge in node.outputs),
        )
        made = planned(alone).run(dict(zip(given, xs, strict=True)), keep=True)
        edges.update({edge: made[edge].astype(np.int64) for edge in node.outputs})
    return edges


def differing(found: ChannelMap, gone: list[ChannelGroup], codes: Codes) -> list[str]:
    """Edges whose codes, where they are left, are others in the network without some channels."""
    small = found.shrunk(gone)
    labels = [group.label for group in gone]
    zero = {edge: np.isin(each, labels) for edge, each in found.labels.items()}
    want = forced(found.graph, codes, zero)
    have = planned(small).run(codes, keep=True)
    return [
        edge
        for edge, gaps in zero.items()
        if not np.array_equal(want[edge][:, ~gaps], have[edge].reshape(len(want[edge]), -1))
    ]


def some_codes(graph: Graph, rng: np.random.Generator, count: int = 4) -> Codes:
    """Random codes for each input edge."""
    return {
        p.tensor: rng.integers(p.type.lo, p.type.hi + 1, (count, *p.type.shape))
        for p in graph.inputs
    }


def layered(seed: int) -> Graph:
    """A random network of more layers with weights than `mixed` gives."""
    net = Mixed(seed)
    for _ in range(7):
        sums(net)
        net.narrow()
        net.older.append(net.edge)
        (each_code, met, moved, reduced, met, each_code)[net.below(6)](net)
        if len(net.x.shape) in (2, 3) and min(net.x.shape[:-1]) > 1 and net.below(3) == 0:
            pool(net)
        if net.x.format.width > 8:
            net.narrow()
        if net.x.size > 120:
            break
    sums(net)
    return net.graph()


def grouped(seed: int) -> Graph:
    """Three convolutions, the middle one in groups of several channels, few with a bias."""
    rng, fmt = np.random.default_rng(seed), Format.int(4)
    groups, per, more = (int(n) for n in rng.integers(2, 4, 3))
    sizes = (2, groups * per, groups * more, 3)
    nodes, edge = [], "x"
    for k, (inputs, outputs) in enumerate(pairwise(sizes)):
        split = groups if k == 1 else 1
        op = Conv2D(
            weights=rng.integers(-8, 8, (2, 2, inputs // split, outputs)),
            bias=rng.integers(-9, 9, outputs) * (rng.random(outputs) < 0.3),
            weight_format=fmt, bias_frac=k, window=Window((2, 2)), groups=split,
        )  # fmt: skip
        narrow = Cast(out=Format.int(6), overflow=Overflow.SAT)
        nodes += [Node(f"c{k}", op, (edge,), f"s{k}"), Node(f"n{k}", narrow, (f"s{k}",), f"y{k}")]
        edge = f"y{k}"
    port = InputPort(name="x", tensor="x", type=TensorType((5, 5, 2), Format.int(4)))
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor=edge),))


def branched(seed: int) -> Graph:
    """Two branches that meet, with a table of all codes of a sum and constants for each channel."""
    rng = np.random.default_rng(seed)
    port = InputPort(name="x", tensor="x", type=TensorType((3, 3, 2), Format.int(3)))
    net, count = Growing(port), int(rng.integers(3, 6))

    def layer(edge: str, outputs: int, **more: object) -> str:
        shape = (1, 1, net.types[edge].channels, outputs)
        bias = rng.integers(-3, 4, outputs)
        op = Conv2D(
            weights=rng.integers(-3, 4, shape), bias=bias, weight_format=Format.int(3),
            window=Window((1, 1)), **more,
        )  # fmt: skip
        return net.add(op, edge)

    sums = layer("x", count)
    values = rng.integers(-8, 8, 1 << net.types[sums].format.width)
    first = net.add(Table(values=values, out=Format.int(4)), sums)
    scaled = layer(first, count, weight_scale=tuple(map(float, rng.uniform(0.1, 0.9, count))))
    quant = Quant(tuple(map(float, rng.uniform(0.1, 0.9, count))))
    multiplier = tuple(float(np.float32(m)) for m in rng.uniform(0.1, 0.5, count))
    scheme = Scheme.F32_RNE_OUT
    op = Requantize(scheme=scheme, multiplier=multiplier, out=Format.int(4), quant=quant)
    meaning = BatchNorm(
        scale=np.ones(count, int), bias=np.zeros(count, int), scale_format=Format.int(2),
        quant=Quant((1.0,)),
    )  # fmt: skip
    one = net.add(meaning, net.add(op, scaled))
    formats = [Format.int(int(n)) if n else None for n in rng.integers(0, 4, count)]
    narrow = Cast.by_channel(formats, rounding=Rounding.RND, overflow=Overflow.SAT)
    other = net.add(narrow, layer("x", count))
    pairs = (Mul(quant=Quant((1.0,))), ScaledAdd(ratios=(0.5, 0.25), offset=0.5, out=Format.int(4)))
    met = net.add(pairs[int(rng.integers(2))], one, other)
    return net.graph(layer(met, 2))


class Growing:
    """A graph that nodes are put to."""

    def __init__(self, port: InputPort) -> None:
        self.port, self.types, self.nodes = port, {port.tensor: port.type}, list[Node]()

    def add(self, op: Op, *edges: str) -> str:
        """A node of one output on edges."""
        name = f"n{len(self.nodes)}"
        self.types[name] = op.output_types([self.types[edge] for edge in edges])[0]
        self.nodes.append(Node(name, op, edges, name))
        return name

    def graph(self, edge: str) -> Graph:
        """What there is, with one output."""
        return Graph((self.port,), tuple(self.nodes), (OutputPort(name="y", tensor=edge),))


def trials(seed: int) -> Iterator[tuple[int, ChannelMap, list[ChannelGroup], Codes]]:
    """Networks with channels that can go, and some that do."""
    kinds = (mixed, layered, grouped, branched)
    for one in range(seed, seed + NETWORKS):
        rng = np.random.default_rng(one)
        found = ChannelMap.of(kinds[one % 4](one))
        if found.groups:
            order = [found.groups[k] for k in rng.permutation(len(found.groups))]
            gone = found.choose(order, int(rng.integers(1, len(order) + 1)))
            if gone:
                yield one, found, gone, some_codes(found.graph, rng)


def same(found: ChannelMap, gone: list[ChannelGroup], codes: Codes) -> bool:
    """Whether no edge differs; a network that cannot be is none that is the same."""
    try:
        return not differing(found, gone, codes)
    except (HwsimError, IndexError, ValueError):
        return False


def test_random_networks_without_channels_have_the_codes_of_the_whole_ones(seed):
    compared = lost = in_groups = wider = 0
    for one, found, gone, codes in trials(seed):
        assert not differing(found, gone, codes), f"seed {one}"
        compared += 1
        lost += len(gone)
        in_groups += found.graph.nodes[0].name == "c0"
        wider += any(node.name.endswith("_as_before") for node in found.shrunk(gone).nodes)
    assert compared >= NETWORKS // 3 and lost >= 2 * NETWORKS and in_groups and wider


@pytest.mark.parametrize("kind", ["rows of the next layer", "channels of a concatenation"])
def test_a_rule_that_takes_the_wrong_channels_is_caught(kind, monkeypatch, seed):
    def shifted(at, read, made):
        rows = [(*axes[:-1], (axes[-1] + 1) % at.inputs[0].channels) for axes in read]
        return rules.weights(at, rows, made)

    def reversed_order(channels, at, xs):
        return rules.moved(channels, at, xs[::-1])

    if kind == "rows of the next layer":
        monkeypatch.setitem(rules.RULES, Dense, rules.ChannelRule(rules.summed, shifted))
    else:
        monkeypatch.setitem(rules.RULES, Concat, rules.ChannelRule(reversed_order, rules.unchanged))
    assert any(not same(found, gone, codes) for _, found, gone, codes in trials(seed))


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_half_of_the_channels_of_a_network_go_exactly(name, scope):
    graph = hwsim.load(MODELS / f"{name}.onnx")
    found = ChannelMap.of(graph)
    gone = found.choose(found.groups, len(found.groups) // 2)
    codes = planned(graph).encode(IMAGES[:30])
    assert not differing(found, gone, codes)
    how = Pruning(amount=0.5, pattern=parse_pattern("channels"), scope=scope)
    small = prune(graph, how).graph
    before, after = (sum(w.macs for w in g.work().values()) for g in (graph, small))
    assert after < 0.62 * before
    assert emulate(small, IMAGES[:5]).shape == (5, 10)


@pytest.mark.parametrize("weights", ["pot4", "apot4", "codebook3", "ternary"])
def test_layers_of_encoded_weights_keep_their_encoding(weights):
    graph = encoded(hwsim.load(MODELS / "digits_dw_skip.onnx"), WeightSet.parse(weights))
    found = ChannelMap.of(graph)
    gone = found.choose(found.groups, len(found.groups) // 2)
    assert not differing(found, gone, planned(graph).encode(IMAGES[:10]))
    for name, op in weighted_layers(found.shrunk(gone)).items():
        assert op.encoding == weighted_layers(graph)[name].encoding is not None


def test_channels_of_branches_that_meet_go_together_and_depthwise_ones_with_what_they_read():
    graph = hwsim.load(MODELS / "digits_dw_skip.onnx")
    together = {tuple(name for name, _ in g.channels) for g in ChannelMap.of(graph).groups}
    assert any(len(names) > 2 for names in together)
    depthwise = [n.name for n in graph.nodes if n.op.kind == "conv2d" and n.op.groups > 1]
    assert depthwise
    for name in depthwise:
        assert all(len(names) > 1 for names in together if name in names)
        assert any(name in names for names in together)


def test_channels_of_the_graphs_ends_stay_and_it_is_told_why():
    graph = hwsim.load(MODELS / "digits_cnn_int8.onnx")
    found = ChannelMap.of(graph)
    last = [n.name for n in graph.nodes if isinstance(n.op, Weighted)][-1]
    assert found.stays == {last: f"the graph's output {graph.outputs[0].name!r} has them"}
    assert not any(found.labels[port.tensor].any() for port in (*graph.inputs, *graph.outputs))


def test_an_edge_keeps_at_least_one_channel():
    graph = hwsim.load(MODELS / "digits_cnn_int8.onnx")
    small = prune(graph, Pruning(amount=0.999, pattern=parse_pattern("channels"))).graph
    assert min(kind.channels for kind in small.types().values()) == 1
    found = ChannelMap.of(graph)
    with pytest.raises(HwsimError, match=r"edge '\w+' must keep at least one channel, not lose"):
        found.shrunk(found.groups)


def test_the_plan_of_a_network_without_half_of_its_channels_needs_less():
    graph = hwsim.load(MODELS / "digits_cnn_int8.onnx")
    small = prune(graph, Pruning(amount=0.5, pattern=parse_pattern("channels"))).graph
    whole, less = (hwsim.plan(g).options for g in (graph, small))
    print([(o["cycles"], o["multipliers"]) for o in (whole[0], less[0], whole[-1], less[-1])])
    assert less[0]["cycles"] < 0.5 * whole[0]["cycles"]
    assert less[-1]["multipliers"] < 0.5 * whole[-1]["multipliers"]


@pytest.mark.slow
@pytest.mark.needs("verilator")
@pytest.mark.parametrize("pattern", ["channels", "unstructured", "2:4"])
@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip"])
def test_the_hardware_of_a_pruned_network_has_its_codes(name, pattern, tmp_path):
    graph = hwsim.load(MODELS / f"{name}.onnx")
    small = prune(graph, Pruning(amount=0.5, pattern=parse_pattern(pattern))).graph
    hwsim.build(small, tmp_path / "b", rtl_only=True)
    assert hwsim.verify(tmp_path / "b", IMAGES[:8]).ok
