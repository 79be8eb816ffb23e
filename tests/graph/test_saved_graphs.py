"""A Graph is saved whole, and read back as it was or refused in one sentence."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from support.layered import layered
from typing_extensions import TypeAliasType

from hwsim import emulate, storage
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import (
    Relu,
    Stepwise,
)
from hwsim.ops.base import since


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-128, 128, (3, 1, 4, 4)), "e": rng.integers(-128, 128, (3, 2))}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.hwsim"
    layered().save(path)
    return path


def refusal(path: Path) -> str:
    """The sentence with which a file is refused; anything but HwsimError fails the test."""
    with pytest.raises(HwsimError) as error:
        Graph.load(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 500
    return text


def resaved(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The file with an edited header and a hash that fits it: a forger's file."""
    document, array = storage.read(path)
    edit(document)
    names = load_arrays(path.read_bytes())
    storage.write(path, document, {name: array(name) for name in names})
    return path


def test_a_saved_graph_comes_back_the_same(saved, seed):
    graph, back = layered(), Graph.load(saved)
    assert back.types() == graph.types() and back.inputs == graph.inputs
    assert back.outputs == graph.outputs and back.hash() == graph.hash()
    assert [(n.name, n.inputs, n.output) for n in back.nodes] == [
        (n.name, n.inputs, n.output) for n in graph.nodes
    ]
    here, there = (emulate(g, batch(seed), codes=True) for g in (graph, back))
    assert here.keys() == there.keys() and all(np.array_equal(here[k], there[k]) for k in here)


def test_saving_a_loaded_graph_gives_the_same_bytes(saved, tmp_path):
    again = tmp_path / "again.hwsim"
    Graph.load(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in [*range(200), *range(200, len(whole), 37), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        refusal(saved)


def test_every_flipped_bit_is_refused(saved, seed):
    whole, rng = saved.read_bytes(), random.Random(seed)
    places = [*range(64), *rng.sample(range(64, 8 * len(whole)), 400)]
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        saved.write_bytes(data)
        refusal(saved)
    saved.write_bytes(whole)
    assert Graph.load(saved).hash() == layered().hash()  # what all of the above started from


def test_random_bytes_and_pickles_are_refused(saved, seed):
    rng = random.Random(seed)
    for length in (0, 1, 7, 8, 9, 100, 5000):
        saved.write_bytes(rng.randbytes(length))
        refusal(saved)
    saved.write_bytes(pickle.dumps({"schema": 1}))
    refusal(saved)
    saved.write_bytes(save_arrays({"w": np.zeros(3)}))
    assert refusal(saved) == f"{saved} must be a graph saved by hwsim, but has no such header"
    saved.write_bytes(save_arrays({}, metadata={"hwsim": "[" * 100_000}))
    refusal(saved)
    saved.write_bytes(save_arrays({}, metadata={"hwsim": "[1]"}))
    assert refusal(saved) == f"{saved} must hold a graph, not list"


def test_a_missing_path_and_a_folder_are_refused(tmp_path):
    refusal(tmp_path / "none.hwsim")
    refusal(tmp_path)


@pytest.mark.parametrize("schema", [0, 4, None, "1", True])
def test_another_schema_is_refused(saved, schema):
    resaved(saved, lambda d: d.update(schema=schema))
    assert refusal(saved) == (
        f"{saved} must have a schema from 1 to 3, not {schema!r}; it was written by another "
        "version of hwsim"
    )


def test_a_file_of_schema_1_is_read_with_the_hash_that_it_was_written_with(tmp_path):
    """`data/schema_1.hwsim` was written by hwsim 0.1.0, before there was another schema."""
    old = Path(__file__).parent / "data" / "schema_1.hwsim"
    (image, extra), (y, z) = layered().inputs, layered().outputs
    graph = replace(
        layered(),
        inputs=(replace(image, element="int8"), extra),
        outputs=(replace(y, shape=(3, 1)), z),
    )
    back = Graph.load(old)
    assert (back.inputs, back.outputs, back.types()) == (graph.inputs, graph.outputs, graph.types())
    assert back.hash() == graph.hash()
    assert back.hash() == "fa51ce9b9f915456901821a7480343598e4b07ef31256b97ce6636b39c95a2f7"
    back.save(tmp_path / "again.hwsim")
    assert (tmp_path / "again.hwsim").read_bytes() == old.read_bytes()
    here, there = (emulate(g, batch(7), codes=True) for g in (graph, back))
    assert all(np.array_equal(here[k], there[k]) for k in ("y", "z"))


def test_ports_with_their_axes_in_another_order_come_back_and_ask_for_schema_2(tmp_path):
    (image, extra), (y, z) = layered().inputs, layered().outputs
    names = ("channels", "columns", "rows")
    turned = replace(image, axes=(2, 1, 0), names=names)
    graph = replace(layered(), inputs=(turned, extra), outputs=(replace(y, names=("class",)), z))
    graph.save(tmp_path / "turned.hwsim")
    back = Graph.load(tmp_path / "turned.hwsim")
    assert back.inputs == graph.inputs and back.outputs == graph.outputs
    assert back.hash() == graph.hash() != layered().hash()
    assert graph.document()[0]["schema"] == 2 and layered().document()[0]["schema"] == 1


def test_an_unknown_layout_of_an_older_port_is_refused(saved):
    resaved(saved, lambda d: d["inputs"][0]["layout"].update(value="NWHC"))
    assert refusal(saved) == f"{saved}: a saved Layout must be a known value, not 'NWHC'"


@dataclass(frozen=True)
class Told:
    """A kind of saved value with a field that came with schema 2."""

    old: int
    new: int = field(default=5, metadata=since(2))


def test_a_newer_field_is_written_only_where_it_says_something_and_then_asks_for_its_schema():
    codec = storage.Codec.of(Told)
    plain, new = storage.Body(), storage.Body()
    assert codec.encode(Told(1), "a", plain) == {"$": "Told", "old": 1} and plain.schema == 1
    document = codec.encode((Told(1, 6),), "a", new)
    assert document == [{"$": "Told", "old": 1, "new": 6}] and new.schema == 2
    assert codec.decode(document, new.arrays.__getitem__) == (Told(1, 6),)
    assert codec.decode([{"$": "Told", "old": 1}], new.arrays.__getitem__) == (Told(1),)


def test_a_codec_knows_the_kinds_that_it_is_told_and_no_others():
    with pytest.raises(HwsimError, match=r"^a saved value must be of a known kind, not 'Told'$"):
        storage.Codec.of(Stepwise).decode({"$": "Told", "old": 1}, {}.__getitem__)
    with pytest.raises(HwsimError, match=r"^a saved value must be of a known kind, not 'Told'$"):
        storage.Codec.of(Told).decode({"$enum": "Told", "value": 1}, {}.__getitem__)
    with pytest.raises(HwsimError, match=r"^kinds of saved values must have names of their own$"):
        storage.Codec.of(Told, Told)


def set_op(field: str, value: object, node: int = 0) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["nodes"][node]["op"].update({field: value})


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (set_op("$", "Popen"), "a saved value must be of a known kind, not 'Popen'"),
        (set_op("$", "Window"), "a saved Window must have the fields"),
        (set_op("zero_point", 1.5), "a saved Conv2D must have a valid zero_point, not '1.5'"),
        (set_op("zero_point", True), "a saved Conv2D must have a valid zero_point, not 'True'"),
        (set_op("groups", "1"), "a saved Conv2D must have a valid groups, not '1'"),
        (set_op("zero_point", 10**40), "must be a code of s8"),
        (set_op("weights", {"$array": "none"}), "must hold the array 'none', but does not"),
        (set_op("weights", [1, 2]), "a saved Conv2D must have a valid weights, not '(1, 2)'"),
        (set_op("weight_format", {"$format": "s99999"}), "a format must be like"),
        (set_op("accumulator", {"$enum": "Rounding", "value": "UP"}), "a valid accumulator"),
        (set_op("rounding", {"$enum": "Rounding", "value": "X"}, 1), "must be a known value"),
        (set_op("multiplier", [float("nan")], 1), "must be a finite number above 0, not nan"),
        (set_op("multiplier", [[1.0]], 1), "a saved Requantize must have a valid multiplier"),
        (set_op("extra", 1, 3), "a saved Relu must have the fields ['maximum', 'zero_point']"),
        (lambda d: d.pop("nodes"), "must be a whole saved graph (KeyError('nodes'))"),
        (lambda d: d.update(nodes=7), "must be a whole saved graph"),
        (lambda d: d.update(inputs=[]), "a graph must have at least one input"),
        (lambda d: d.update(inputs=[3]), "a saved value must be a InputPort, not 3"),
        (lambda d: d["inputs"][0].update(name=3), "a saved InputPort must have a valid name"),
        (lambda d: d["nodes"][2].update(inputs=["none"]), "input 'none' must be an edge"),
        (lambda d: d["inputs"][0]["type"].update(shape=[4, -4, 1]), "axes must be 1 or more"),
        (lambda d: d["inputs"][0]["type"].update(range=[3, -3]), "must be codes of s8 in order"),
    ],
)
def test_a_forged_header_is_refused(saved, edit, text):
    assert text in refusal(resaved(saved, edit))


def test_random_edits_of_the_header_give_a_graph_or_a_sentence(saved, seed):
    """A forger who fits the hash: whatever loads must also check and run, or say why not."""
    rng, whole = random.Random(seed), saved.read_bytes()
    values = [None, True, -1, 0, 2, 10**30, 0.5, "", "x", [], [1, 2, 3], {}, {"$": "Relu"}]
    texts: list[str] = []
    for _ in range(300):

        def edit(document: dict[str, Any]) -> None:
            spots = list(containers(document))
            holder = rng.choice(spots)
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            holder[rng.choice(keys)] = rng.choice(values)

        resaved(saved, edit)
        try:
            emulate(Graph.load(saved), batch(1), codes=True)
        except HwsimError as error:
            texts.append(str(error))
        saved.write_bytes(whole)
    assert len(texts) > 200 and not any("\n" in text for text in texts)


def containers(value: Any) -> Any:
    """Every non-empty dict and list of a document."""
    if isinstance(value, dict | list) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.hwsim"
    layered().save(path)
    before = path.read_bytes()

    def broken(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(HwsimError) as error:
        layered().with_op("relu", Relu(maximum=9)).save(path)
    assert str(error.value) == f"{path} must be a writable file (No space left on device)"
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    nowhere = tmp_path / "none" / "model.hwsim"
    with pytest.raises(HwsimError) as error:
        layered().save(nowhere)
    assert str(error.value) == (
        f"the folder of {nowhere} must exist and be writable (No such file or directory)"
    )
    folder = tmp_path / "folder.hwsim"
    folder.mkdir()
    with pytest.raises(HwsimError, match=r"must be a writable file \(Is a directory\)$"):
        layered().save(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_header_is_plain_json_and_arrays_are_narrow(saved):
    """What another program finds: JSON in the metadata, arrays in the narrowest integer type."""
    length = int.from_bytes(saved.read_bytes()[:8], "little")
    header = json.loads(saved.read_bytes()[8 : 8 + length])
    document = json.loads(header["__metadata__"]["hwsim"])
    assert document["schema"] == 1 and document["nodes"][0]["op"]["$"] == "Conv2D"
    assert header["conv.weights"] == {"dtype": "I8", "shape": [3, 3, 1, 2]} | {
        "data_offsets": header["conv.weights"]["data_offsets"]
    }
    assert document["sha256"] == layered().hash()


def test_a_field_of_a_saved_class_may_have_a_type_by_name():
    """As NumPy 2.5's NDArray is one, of Python's `type` statement."""
    item = TypeVar("item", bound=np.generic)
    named = TypeAliasType("named", np.ndarray[Any, np.dtype[item]], type_params=(item,))
    held = make_dataclass("Held", [("values", named[np.int64])])
    codec = storage.Codec.of(held)
    found = codec.decode({"$": "Held", "values": {"$array": "a"}}, lambda name: np.arange(3))
    assert found.values.tolist() == [0, 1, 2]
    with pytest.raises(HwsimError, match="a saved Held must have a valid values, not '3'"):
        codec.decode({"$": "Held", "values": 3}, lambda name: np.arange(3))
