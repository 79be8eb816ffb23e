"""TensorFlow Lite models as hardware: loaded, built, and the same integers in Verilator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import tflite_run
from support.merged import merged
from support.published import folder
from support.tflite_forms import FORMS, WRONG, written
from support.tflite_maker import Maker
from support.tflite_networks import network

import hwsim
from hwsim.frontends.tflite.read import read
from hwsim.graph import Graph
from rtl.build import Request, build
from rtl.layers import unsupported
from rtl.sim.verify import verify

pytestmark = pytest.mark.needs("verilator", "yosys")
PUBLISHED = sorted((folder() / "tflite").glob("*.tflite"))
SOFTMAX = (2.0**-8, -128)


def classifier(m: Maker) -> list[int]:
    """A residual block of convolutions, a mean, a dense layer and its softmax."""
    x, w = m.x(6, 5, 2), m.weights((8, 3, 3, 2), 0, 8)
    first = m.y(3, 3, 8, top=6)
    m.node(
        "CONV_2D", [x, w, m.bias(x, w, 8)], first, activation="RELU", padding=0, stride_w=2,
        stride_h=2,
    )  # fmt: skip
    w, second = m.weights((1, 3, 3, 8), 3, 8), m.y(3, 3, 8)
    m.node(
        "DEPTHWISE_CONV_2D", [first, w, m.bias(first, w, 8)], second, activation="RELU6",
        padding=0, stride_w=1, stride_h=1, multiplier=1,
    )  # fmt: skip
    both, pooled = m.y(3, 3, 8, top=9), m.y(8, top=4)
    m.node("ADD", [first, second], both, activation="NONE")
    m.node("MEAN", [both, m.ints([1, 2])], pooled, keep_dims=False)
    w, scores, shares = m.weights((5, 8), 0, 5), m.y(5, top=9), m.fixed(*SOFTMAX, 5)
    m.node("FULLY_CONNECTED", [pooled, w, m.bias(pooled, w, 5)], scores, activation="NONE")
    return m.node("SOFTMAX", [scores], shares, beta=1.0)


def check(graphs: dict[str, Graph], out: Path, samples: int, seed: int) -> None:
    graph = merged(graphs)
    assert not unsupported(graph)
    build(graph, out, Request(rtl_only=True))
    outcome = verify(out, samples=samples, seed=seed % 2**31)
    assert outcome.ok and outcome.different == 0 and outcome.compared > 0, f"seed {seed}"


def test_a_classifier_is_the_integers_of_two_kernel_sets_in_verilator(tmp_path, seed):
    """One with gemmlowp's roundings and softmax, one with ruy's and a softmax in float32."""
    maker = Maker(np.random.default_rng(seed), powers=True, odd=True)
    outputs = classifier(maker)
    (tmp_path / "m.tflite").write_bytes(maker.lite.build(maker.inputs, outputs))
    graphs = {like: read(tmp_path / "m.tflite", like) for like in ("tflm", "builtin")}
    divisions = {n.op.division for g in graphs.values() for n in g.nodes if n.op.kind == "share"}
    assert len(divisions) == 2
    check(graphs, tmp_path / "out", 8, seed)


@pytest.mark.slow
@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("part", range(4))
def test_every_operator_is_its_integers_in_verilator(part, like, tmp_path, seed):
    graphs, said = {}, {}
    for number, name in enumerate(sorted(FORMS)[part::4]):
        here = seed + number
        form = FORMS[name][here % len(FORMS[name])]
        model, _, inputs = written(form, here, powers=bool(here & 1), odd=True)
        if not inputs:
            continue
        (tmp_path / "m.tflite").write_bytes(model)
        try:
            graphs[f"m{number}"] = read(tmp_path / "m.tflite", like)
        except hwsim.HwsimError as error:
            said[name] = str(error)
    others = {name: text for name, text in said.items() if (name, like) not in WRONG}
    assert all("a kernel set that can run it" in text for text in others.values()), others
    assert len(graphs) > 8
    check(graphs, tmp_path / "out", 12, seed)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_random_networks_are_their_integers_in_verilator(number, tmp_path, seed):
    """Five at a time, like one kernel set after the other, with int16 activations now and then.

    Those with a softmax from int8 to int16 have no hardware.
    """
    graphs: dict[str, Graph] = {}
    drawn = seed + 1000 * number
    while len(graphs) < 5:
        drawn += 1
        like = tflite_run.SETS[drawn % 4]
        net, outputs = network(drawn, wide=drawn % 5 == 0)
        (tmp_path / "m.tflite").write_bytes(net.lite.build(net.inputs, outputs))
        try:
            graph = read(tmp_path / "m.tflite", like)
        except hwsim.HwsimError:
            continue  # what this set has no kernel for
        softmaxes = {node.name for node in graph.nodes if node.op.kind == "share"}
        lacking = {item.name for item in unsupported(graph)}
        if net.inputs and not (lacking & softmaxes or graph.state):
            graphs[f"m{drawn}"] = graph
    check(graphs, tmp_path / "out", 12, seed)


@pytest.mark.slow
@pytest.mark.needs("models")
@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_a_published_model_is_its_integers_in_verilator(path, like, tmp_path):
    build(hwsim.load(path, like=like), tmp_path / "out", Request(rtl_only=True))
    outcome = verify(tmp_path / "out", samples=4)
    assert outcome.ok and outcome.different == 0 and outcome.compared > 0


def test_state_has_no_hardware_and_is_named(tmp_path, seed):
    """A model that remembers runs in the emulator; the state is told before a build begins."""
    for drawn in range(seed, seed + 500):
        net, outputs = network(drawn)
        if "VAR_HANDLE" in net.drawn and net.inputs:
            break
    (tmp_path / "m.tflite").write_bytes(net.lite.build(net.inputs, outputs))
    graph = read(tmp_path / "m.tflite", "reference")
    assert {item.kind for item in unsupported(graph)} == {"state"}
    with pytest.raises(hwsim.HwsimError, match="a model with state runs in the emulator only"):
        build(graph, tmp_path / "out", Request(rtl_only=True))
