"""Bits by output channel in a Graph: files keep them, sizes count them, later steps heed them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from support.cli_calls import run as called
from support.seeds import seeded

import hwsim
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.training.loop import Training, finetune
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.channel_notes import with_note
from hwsim.graph import Graph
from hwsim.ops import Dense, Weighted

FLOAT = Path(__file__).resolve().parents[2] / "examples" / "models" / "digits_dw_skip.float.onnx"
DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
SIZES = {"stem": 16, "depthwise": 16, "pointwise": 16, "conv": 32, "logits": 10}
OUTPUTS = {"stem": 64, "depthwise": 64, "pointwise": 64, "conv": 16, "logits": 1}


@pytest.fixture(scope="module")
def bits() -> dict[str, list[int]]:
    rng = np.random.default_rng(seeded(31))
    found = {name: rng.integers(1, 6, size).tolist() for name, size in SIZES.items()}
    for each in found.values():
        each[:2] = [5, 1]
    return found


@pytest.fixture(scope="module")
def made(bits):
    return hwsim.quantize(FLOAT, IMAGES[:128], layers=bits)


def layers(graph: Graph) -> dict[str, Weighted]:
    return {node.name: node.op for node in graph.nodes if isinstance(node.op, Weighted)}


def beyond(graph: Graph, bits: dict[str, list[int]]) -> int:
    """Codes that their channel's bits do not hold, in whole numbers; a sign takes two bits."""
    count = 0
    for name, each in bits.items():
        for channel, n in enumerate(each):
            top = 2 ** (max(n, 2) - 1)
            codes = layers(graph)[name].weights[..., channel].ravel()
            count += sum(not -top <= int(code) < top for code in codes)
    return count


def test_sizes_count_what_each_channel_needs(made, bits, tmp_path, capsys):
    sizes = {name: op.weights.size for name, op in layers(made.graph).items()}
    needed = {
        name: sizes[name] // len(each) * sum(max(n, 2) for n in each) for name, each in bits.items()
    }
    assert weight_bits(made.graph) == sum(needed.values()) < 5 * sum(sizes.values())
    assert bit_operations(made.graph) == sum(n * OUTPUTS[name] * 8 for name, n in needed.items())
    made.save(tmp_path / "m.hwsim")
    status, text, _ = called(capsys, "inspect", tmp_path / "m.hwsim", "--json")
    rows = {row["name"]: row for row in json.loads(text)["nodes"]}
    assert status == 0 and rows["conv"]["weight_bits"] == needed["conv"]
    assert "2 to 5 bits by channel" in rows["conv"]["summary"]


def test_both_files_keep_them(made, bits, tmp_path):
    for name in ("m.onnx", "m.hwsim"):
        made.save(tmp_path / name)
        for layer, op in layers(hwsim.load(tmp_path / name)).items():
            assert op.channel_bits == tuple(max(n, 2) for n in bits[layer])
            assert op.weight_format == Format.int(5)
    plain = hwsim.quantize(FLOAT, IMAGES[:128], bits="w5a8")
    assert not plain.proto.metadata_props
    assert all(op.channel_bits is None for op in layers(plain.graph).values())


@pytest.mark.parametrize(
    "note",
    [
        "{", "[]", "3", "[" * 100_000, '{"conv":3}', '{"conv":[4,4]}', '{"conv":["4"]}',
        '{"other":[1]}', json.dumps({"conv": [2] * 32}), json.dumps({"conv": [6] * 32}),
        json.dumps({"conv": [True] * 32}), json.dumps({"conv": [-5] * 32}),
        json.dumps({"conv": [10**40] * 32}), json.dumps({"relu": [4]}),
    ],
)  # fmt: skip
def test_a_note_that_is_not_this_graphs_is_passed_over(made, note):
    bare = with_note(made.graph, "{}")
    for node in bare.nodes:
        if isinstance(node.op, Weighted):
            bare = bare.with_op(node.name, replace(node.op, channel_bits=None))
    assert with_note(bare, note).hash() == bare.hash() != made.graph.hash()
    assert with_note(bare, json.dumps({"conv": [5] * 32})).hash() != bare.hash()


def test_a_note_checks_a_graph_once_however_many_layers_it_names(made, monkeypatch):
    note = json.dumps({name: op.channel_bits for name, op in layers(made.graph).items()})
    counted, check = [], Graph.check
    monkeypatch.setattr(Graph, "check", lambda graph: (counted.append(1), check(graph))[1])
    found = with_note(made.graph, note)
    assert len(counted) == 1 and len(SIZES) > 1 and found.hash() == made.graph.hash()


def test_a_note_that_is_no_text_is_passed_over(made, tmp_path):
    whole = made.proto.SerializeToString()
    spoilt = whole.replace(b'{"', b"\xff\xff")
    assert spoilt != whole
    (tmp_path / "m.onnx").write_bytes(spoilt)
    assert all(op.channel_bits is None for op in layers(hwsim.load(tmp_path / "m.onnx")).values())


@pytest.mark.needs("torch")
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "forgotten"])
def test_training_keeps_each_channel_within_its_bits(made, bits, kept):
    """The mutant is the same graph without them: it takes more."""
    graph = made.graph
    if not kept:
        for name, op in layers(graph).items():
            graph = graph.with_op(name, replace(op, channel_bits=None))
    how = Training(epochs=1, batch=64, rate=1e-1, check=True, seed=seeded(32))
    tuned = finetune(graph, IMAGES[:256], DIGITS.target[:256], how)
    changed = layers(tuned)["conv"].weights != layers(graph)["conv"].weights
    assert changed.any()
    assert (beyond(tuned, bits) == 0) == kept
    assert (layers(tuned)["conv"].channel_bits is None) != kept


def test_channels_that_are_pruned_take_their_bits_along(made):
    before = replace(layers(made.graph)["conv"], bias=np.arange(32))  # which name the channels
    found = layers(hwsim.prune(made.graph.with_op("conv", before), 0.5, pattern="channels").graph)
    assert all(len(op.channel_bits or ()) == op.outputs for op in found.values())
    kept = found["conv"].bias.tolist()
    assert len(kept) == 16 and kept != list(range(16))
    assert found["conv"].channel_bits == tuple((before.channel_bits or ())[k] for k in kept)


def test_an_encoding_says_the_bits_itself(made):
    found = hwsim.encode(made.graph, "pot4")
    assert all(op.channel_bits is None and op.weight_bits == 4 for op in layers(found).values())


def test_a_target_of_bits_chooses_averages_of_channels():
    found = hwsim.quantize(
        FLOAT, IMAGES[:64], bits="w5a8", channel_bits="2-6", target_bits=30_000, least="w3a8"
    )
    assert 25_000 < weight_bits(found.graph) <= 30_000
    chosen = {row["name"]: row["chosen"] for row in found.choice.rows}
    mixed = {name: op for name, op in layers(found.graph).items() if op.channel_bits is not None}
    assert len(mixed) >= 3
    for name, op in mixed.items():
        assert sum(op.channel_bits) <= chosen[name] * op.outputs


@pytest.mark.parametrize("sums", ["exact16", "sat14"])
def test_narrow_sums_have_weights_within_their_bits(bits, sums):
    found = hwsim.quantize(FLOAT, IMAGES[:128], layers=bits, accumulator=sums).graph
    assert beyond(found, bits) == 0 and layers(found)["conv"].channel_bits is not None


def test_attribution_says_how_many_weights_are_at_their_channels_ends(made, bits):
    found = hwsim.attribute(made.graph, FLOAT, IMAGES[:64])
    (row,) = (row for row in found.weights if row.node == "conv")
    op, ends = layers(made.graph)["conv"], 0
    for channel, n in enumerate(bits["conv"]):
        top = 2 ** (max(n, 2) - 1)
        ends += sum(int(w) in (-top, top - 1) for w in op.weights[..., channel].ravel())
    assert row.at_ends == ends and "2 to 5 bits by channel" in row.format


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((4,), "channel_bits must be one for each of 2 channels, from 1 to 4, not"),
        ((4, 5), "channel_bits must be one for each of 2 channels, from 1 to 4, not"),
        ((0, 4), "channel_bits must be one for each of 2 channels, from 1 to 4, not"),
        (
            (4, 2),
            "weights must fit the bits of their channels, but those of channel 1 do not fit 2",
        ),
    ],
)
def test_bits_that_channels_cannot_have_are_told(given, sentence):
    with pytest.raises(HwsimError, match=sentence):
        Dense(
            weights=np.array([[7, 2]]),
            bias=np.zeros(2, int),
            weight_format=Format.int(4),
            channel_bits=given,
        )


def test_formats_without_a_sign_have_whole_bits():
    op = Dense(
        weights=np.array([[15, 3]]),
        bias=np.zeros(2, int),
        weight_format=Format.parse("u4"),
        channel_bits=(4, 2),
    )
    assert op.total_bits == 6
    with pytest.raises(HwsimError, match="channel 1 do not fit 1"):
        replace(op, channel_bits=(4, 1))


@pytest.mark.slow
@pytest.mark.needs("verilator")
@pytest.mark.parametrize("fps", [20_000, 1_000_000], ids=["folded", "unrolled"])
def test_hardware_has_the_codes_of_mixed_channels(tmp_path, fps):
    rng = np.random.default_rng(seeded(33))
    graph = dense_network(rng)
    each = {"first": [2, 5, 3, 4] * 2, "second": [1, 6, 3, 2]}
    x = rng.normal(size=(256, 12)).astype(np.float32)
    made = hwsim.quantize(graph, x, layers=each).graph
    hwsim.build(made, tmp_path / "b", rtl_only=True, fps=fps)
    found = hwsim.verify(tmp_path / "b", x[:40])
    assert found.ok and found.compared >= 160, found


def dense_network(rng: np.random.Generator) -> onnx.ModelProto:
    """Two dense layers with a Relu between."""
    shapes = {"w": (12, 8), "v": (8, 4)}
    held = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], "first"),
        helper.make_node("Relu", ["s"], ["t"], "relu"),
        helper.make_node("MatMul", ["t", "v"], ["y"], "second"),
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("x", 12), ("y", 4))
    ]
    graph = helper.make_graph(nodes, "two", ports[:1], ports[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
