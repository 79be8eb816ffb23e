"""Channels and bits chosen together: all bounds are kept, and little beats what is chosen."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.cli_calls import refused
from support.seeds import seeded

import hwsim
from hwsim.compress.choice.channels import ChannelRoom, without_same
from hwsim.compress.choice.choose import choose
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.masks import WholeChannels
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.samples import Batches
from hwsim.data.sets import load
from hwsim.errors import HwsimError
from rtl.plan.explore import fewest_cycles

pytestmark = pytest.mark.needs("onnxruntime")
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
FLOAT = MODELS / "digits_cnn_int8.float.onnx"
DIGITS = load("digits")
X, Y = DIGITS.train.reals(), DIGITS.train.labels
LEAST, MOST = 2, 4
SIZES = (8, 6, 5, 4)


def small(seed):
    """A perceptron of three layers and its samples: 810 choices of channels and bits."""
    rng = np.random.default_rng(seed)
    tensor, node = onnx.numpy_helper.from_array, onnx.helper.make_node
    shapes = list(itertools.pairwise(SIZES))
    weights = [rng.laplace(size=shape) * rng.choice([0.3, 1, 2], shape[1]) for shape in shapes]
    nodes, edge = [], "x"
    for k in range(3):
        nodes.append(node("MatMul", [edge, f"w{k}"], [f"a{k}"], f"layer{k}"))
        nodes.append(node("Relu", [f"a{k}"], [f"b{k}"], f"relu{k}"))
        edge = f"b{k}"
    graph = onnx.helper.make_graph(
        nodes[:-1],
        "small",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", SIZES[0]])],
        [onnx.helper.make_tensor_value_info("a2", 1, ["n", SIZES[-1]])],
        [tensor(each.astype(np.float32), f"w{k}") for k, each in enumerate(weights)],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    return model, rng.normal(size=(300, SIZES[0])).astype(np.float32)


def rank_of(graph, x, wanted):
    """The share of samples with the float model's class, and the divergence, in plain NumPy."""
    out = np.asarray(hwsim.emulate(graph, x), np.float64)
    logs = [s - np.log(np.exp(s).sum(axis=1, keepdims=True)) for s in (wanted, out)]
    apart = float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())
    return float((out.argmax(1) == wanted.argmax(1)).mean()), -apart


def every_choice(model, x, bits):
    """All networks within so many bits, with their ranks, by channels and bits."""
    whole = hwsim.quantize(model, x, bits=f"w{MOST}a8").graph
    room = ChannelRoom.of(whole, Pruning(pattern=WholeChannels()))
    (reals,) = FloatModel.of(model, Path("m")).run([{"x": x}], ["a2"])
    wanted = reals["a2"].astype(np.float64)
    found = {}
    for widths in itertools.product(range(LEAST, MOST + 1), repeat=3):
        layers = {f"layer{k}": f"w{n}" for k, n in enumerate(widths)}
        graph = hwsim.quantize(model, x, layers=layers).graph
        for kept in itertools.product(range(1, SIZES[1] + 1), range(1, SIZES[2] + 1)):
            size = sum(
                n * a * b
                for n, (a, b) in zip(
                    widths, itertools.pairwise((SIZES[0], *kept, SIZES[3])), strict=True
                )
            )
            if size > bits:
                continue
            gone = room.gone(dict(zip(("layer0", "layer1"), kept, strict=True)))
            made = without_same(graph, gone) if gone else graph
            assert weight_bits(made) == size
            found[kept, widths] = rank_of(made, x, wanted), made
    return found


def chosen(one):
    """Channels and bits of one that was tried."""
    channels, bits = one["choice"]["channels"], one["choice"]["weights"]
    return tuple(channels.values()), tuple(bits.values())


def of_one_multiplier(graph):
    """Cycles of hardware that has one multiplier."""
    return sum(work.macs for work in graph.work().values())


def test_few_of_all_choices_within_bits_and_cycles_are_better():
    chosen_ahead = staged_ahead = 0
    for seed in (80, 81):
        found, staged = places_of(*small(seeded(seed)))
        chosen_ahead += found
        staged_ahead += staged
    assert chosen_ahead < 16 <= staged_ahead  # of two times some hundreds


def places_of(proto, x):
    """How many choices are better than the one that is chosen, and than a mutant's.

    That chooses channels, then bits, and exchanges nothing of the two.
    """
    model = FloatModel.of(proto, Path("m"))
    batches = Batches(model, {"x": x}, samples=None)
    linear = LinearScheme.parse(f"w{MOST}a8", {})
    whole = hwsim.quantize(proto, x, bits=f"w{MOST}a8").graph
    cycles, bits = int(of_one_multiplier(whole) * 0.7), int(weight_bits(whole) * 0.55)
    target = ChoiceTarget(bits=bits, cycles=cycles, least=Widths(weights=LEAST, activations=8))
    made = choose(model, batches, linear, target, Judges.of(target, None, None), of_one_multiplier)
    assert weight_bits(made.graph) == made.choice.best["bits"] <= bits
    assert of_one_multiplier(made.graph) == made.choice.best["cycles"] <= cycles
    every = every_choice(proto, x, bits)
    inside = {one: pair for one, pair in every.items() if of_one_multiplier(pair[1]) <= cycles}
    assert len(inside) > 200
    rank, graph = inside[chosen(made.choice.best)]
    assert graph.hash() == made.graph.hash()
    assert rank == pytest.approx((made.choice.best["agreement"], -made.choice.best["loss"]))
    first = chosen(made.choice.tried[0])[0]
    tried = {chosen(one) for one in made.choice.tried}
    staged = max(inside[one][0] for one in tried & inside.keys() if one[0] == first)
    print(len(inside), rank, staged)
    return tuple(sum(one > mine for one, _ in inside.values()) for mine in (rank, staged))


def test_the_least_for_an_accuracy_within_cycles_keeps_both(tmp_path):
    x, y = X[::3], Y[::3]
    asked = {"target_accuracy": "95%", "target_cycles": 4608, "test": (x, y), "least": "w3a4"}
    made = hwsim.quantize(FLOAT, x, samples=256, **asked)
    best = made.choice.best
    assert hwsim.accuracy(made.graph, x, y).top1 == best["accuracy"] >= 0.95
    assert fewest_cycles(made.graph) == best["cycles"] <= 4608
    assert bit_operations(made.graph) == best["operations"] == best["cost"]
    assert made.choice.kind == "accuracy and cycles" and len(made.choice.bounds) == 2
    assert {row["of"] for row in made.choice.rows} == {"channels", "weights", "activations"}
    alone = hwsim.quantize(FLOAT, x, samples=256, bits="w8a8", target_cycles=4608, labels=y)
    assert best["cost"] < bit_operations(alone.graph) / 3
    outputs = {
        node.name: node.op.outputs for node in made.graph.nodes if hasattr(node.op, "outputs")
    }
    bits = {row["name"]: row["weight_bits"] for row in made.rows if "weight_bits" in row}
    for row in made.choice.rows:
        if row["of"] != "activations":
            assert (outputs if row["of"] == "channels" else bits)[row["name"]] == row["chosen"]
    made.save(tmp_path / "m.hwsim")
    assert hwsim.load(tmp_path / "m.hwsim").hash() == made.graph.hash()


def test_the_fewest_bits_for_an_accuracy_are_within_the_bits():
    x, y = X[::3], Y[::3]
    asked = {"target_bits": 30_000, "test": (x, y), "samples": 256}
    made = hwsim.quantize(FLOAT, x, target_accuracy="97%", **asked)
    assert hwsim.accuracy(made.graph, x, y).top1 == made.choice.best["accuracy"] >= 0.97
    assert weight_bits(made.graph) == made.choice.best["cost"] < 30_000
    with pytest.raises(HwsimError) as told:
        hwsim.quantize(FLOAT, x, target_accuracy="99.99%", **{**asked, "target_bits": 16_000})
    assert told.value.exit_status == 1
    said = "no choice of 2 to 8 bits keeps an accuracy of 99.99 % within 16,000 bits: the highest"
    assert str(told.value).startswith(said)


@pytest.mark.parametrize(
    ("bits", "cycles", "sentence"),
    [
        (100, 40, "fits 100 bits and 40 cycles: the fewest bits are 518 and the fewest cycles are"),
        (
            100,
            4000,
            "fits 100 bits and 4,000 cycles: the fewest bits are 518, with 1 of 8 channels",
        ),
        (
            9000,
            40,
            "fits 9,000 bits and 40 cycles: the fewest cycles are 100, with 1 of 8 channels",
        ),
    ],
)
def test_of_two_bounds_the_one_that_is_never_met_is_told(bits, cycles, sentence):
    with pytest.raises(HwsimError) as told:
        hwsim.quantize(FLOAT, X[:64], target_bits=bits, target_cycles=cycles)
    assert sentence in str(told.value) and told.value.exit_status == 1


def test_the_command_writes_nothing_where_both_bounds_are_out_of_reach(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X[:64])
    out = tmp_path / "m.hwsim"
    both = ("--target-bits", 100, "--target-cycles", 40)
    asked = ("quantize", FLOAT, "--data", tmp_path / "x.npy", "-o", out, *both)
    assert "no choice of channels and bits fits" in refused(capsys, *asked, status=1)
    assert not out.exists()


def test_graphs_whose_channels_go_together_in_another_way_are_refused():
    graphs = [hwsim.load(MODELS / f"{name}.onnx") for name in ("digits_cnn_int8", "digits_dw_skip")]
    room = ChannelRoom.of(graphs[0], Pruning(pattern=WholeChannels()))
    gone = room.gone({"conv1": 3})
    with pytest.raises(HwsimError, match="channels of 'conv1' must go together with the same ones"):
        without_same(graphs[1], gone)
