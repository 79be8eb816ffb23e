"""Files for Model Explorer: every node and edge of a Graph, and a number for each node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny
from support.mixed_networks import mixed
from support.seeds import seeded
from support.streams import STREAMS

import hwsim
from hwsim.errors import HwsimError
from hwsim.explorer import collection, node_data
from hwsim.explorer.model_graph import INPUT, OUTPUT, STATE
from hwsim.graph import Graph
from rtl.plan.cost import node_cycles

MODELS = Path(hwsim.__file__).resolve().parent.parent / "examples" / "models"
F32 = np.float32


def nodes_of(graph: Graph) -> dict[str, dict]:
    made = json.loads(json.dumps(collection(graph, "g")))
    assert set(made) == {"label", "graphs"} and [g["id"] for g in made["graphs"]] == ["graph"]
    return {node["id"]: node for node in made["graphs"][0]["nodes"]}


@pytest.mark.parametrize("seed", range(4))
def test_every_node_and_edge_is_there_once(seed):
    graph = mixed(seeded(500 + seed))
    nodes = nodes_of(graph)
    assert len(nodes) == len(graph.nodes) + len(graph.inputs) + len(graph.outputs)
    for node in graph.nodes:
        shown = nodes[node.name]
        sources = [
            {
                attr["value"]
                for attr in nodes[edge["sourceNodeId"]]["outputsMetadata"][
                    int(edge["sourceNodeOutputId"])
                ]["attrs"]
                if attr["key"] == "tensor_name"
            }
            for edge in shown["incomingEdges"]
        ]
        assert sources == [{edge} for edge in node.inputs]
        told = {attr["key"]: attr["value"] for attr in shown["outputsMetadata"][0]["attrs"]}
        assert told["format"] == str(graph.types()[node.outputs[0]].format)
        assert len(shown["attrs"]) == len({attr["key"] for attr in shown["attrs"]})


def test_state_is_a_node_that_closes_the_circle():
    graph = STREAMS[0].graph()
    nodes = nodes_of(graph)
    (state,) = graph.state[:1]
    (back,) = nodes[f"{STATE}{state.name}"]["incomingEdges"]
    maker = graph.makers()[state.next].name if state.next in graph.makers() else None
    assert maker is None or back["sourceNodeId"] == maker
    assert f"{INPUT}{graph.inputs[0].name}" in nodes and f"{OUTPUT}{graph.outputs[0].name}" in nodes


def values(data: dict, key: str) -> dict[str, float]:
    return {name: one["value"] for name, one in data[key]["graph"]["results"].items()}


def test_node_data_are_what_the_graph_and_its_plan_say():
    graph = tiny()
    x = np.array([[127, 127, 127, 127], [-128] * 4, [0, 1, 2, 3]], F32)
    data = node_data(graph, x=x)
    kind = graph.types()["y"]
    assert values(data, "bits") == {"dense": kind.format.width}
    assert values(data, "macs") == {"dense": 8} and values(data, "weight_bits") == {"dense": 32}
    from rtl.build import Request, choose_plan

    plan = choose_plan(graph, Request(target="ecp5-25k", clock_mhz=50.0, rtl_only=True))
    cycles = {"dense": node_cycles(graph, graph.nodes[0], plan.nodes["dense"])}
    assert values(data, "cycles") == cycles
    codes = hwsim.emulate(graph, x, codes=True)
    ends = (codes == kind.format.min) | (codes == kind.format.max)
    assert values(data, "saturated") == {"dense": round(100 * float(ends.mean()), 4)}


def test_the_difference_to_a_float_model_is_small_and_of_each_tensor():
    graph = hwsim.load(MODELS / "digits_cnn_int8.onnx")
    x = np.random.default_rng(seeded(4)).uniform(0, 1, (9, 1, 8, 8)).astype(F32)
    data = node_data(graph, x=x, reference=MODELS / "digits_cnn_int8.float.onnx")
    found = values(data, "difference")
    assert {"conv1", "conv2_QuantizeLinear", "logits"} <= found.keys()
    assert 0 < max(found.values()) < 10
    other = node_data(graph, x=x, reference=MODELS / "digits_cnn_asym.float.onnx")
    assert max(values(other, "difference").values()) > 50
    with pytest.raises(HwsimError, match="must come with samples"):
        node_data(graph, reference=MODELS / "digits_cnn_int8.float.onnx")


def test_the_command_writes_a_folder_and_says_what_opens_it(tmp_path, capsys):
    tiny().save(tmp_path / "m.hwsim")
    np.save(tmp_path / "x.npy", np.zeros((2, 4), F32))
    status, out, _ = run(
        capsys, "explore", tmp_path / "m.hwsim", "-o", tmp_path / "d", "-i", tmp_path / "x.npy"
    )
    files = {path.name for path in (tmp_path / "d").iterdir()}
    assert status == 0 and "model-explorer" in out
    assert files == {f"{name}.json" for name in (
        "graph", "bits", "range", "macs", "weight_bits", "cycles", "saturated"
    )}  # fmt: skip
    said = refused(
        capsys, "explore", tmp_path / "m.hwsim", "-o", tmp_path / "e", "--reference", "no.onnx"
    )
    assert "must come with samples" in said and not (tmp_path / "e").exists()


def test_a_target_and_a_clock_that_are_none_are_sentences_and_nothing_is_written(tmp_path, capsys):
    tiny().save(tmp_path / "m.hwsim")
    for option, said in (("--target", "target must be one of"), ("--clock", "clock must be a")):
        call = ("explore", tmp_path / "m.hwsim", "-o", tmp_path / "out", option, "best")
        assert said in refused(capsys, *call)
    assert not (tmp_path / "out").exists()


@pytest.mark.needs("model_explorer")
def test_model_explorer_takes_the_adapter_and_the_node_data():
    from model_explorer import Adapter, node_data_builder
    from model_explorer.utils import convert_adapter_response

    from hwsim.explorer.main import HwsimAdapter

    assert issubclass(HwsimAdapter, Adapter) and "hwsim" in HwsimAdapter.metadata.fileExts
    path = MODELS / "digits_cnn_int8.onnx"
    made = convert_adapter_response(HwsimAdapter().convert(str(path), {}))
    assert len(made["graphs"][0]["nodes"]) == len(hwsim.load(path).nodes) + 2
    for one in node_data(tiny()).values():
        given = one["graph"]
        results = {k: node_data_builder.NodeDataResult(**v) for k, v in given["results"].items()}
        gradient = [node_data_builder.GradientItem(**stop) for stop in given["gradient"]]
        theirs = node_data_builder.GraphNodeData(
            results=results, name=given["name"], gradient=gradient
        )
        assert json.loads(theirs.to_json_string()).items() >= given.items()
