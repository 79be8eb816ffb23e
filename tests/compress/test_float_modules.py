"""Float modules and programs of PyTorch: quantized, a teacher, a reference, or refused by name."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantizers
from sklearn.datasets import load_digits
from support.float_modules import (
    Called,
    Recurrent,
    Sorted,
    TwoInputs,
    Unlike,
    Vgg,
    module,
)
from support.float_networks import NETWORKS, network
from support.qonnx_nets import executed
from support.seeds import seeded
from torch import nn
from typer.testing import CliRunner

import hwsim
from hwsim.cli.app import app
from hwsim.compress.any_float import any_float
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("torch")
DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
ROWS = IMAGES[:, 0, 3]
KINDS = [
    "shared",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("residual", "unet", "vgg")),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("inverted", "temporal")),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("separable", "gated", "decoder")),
]


def made(name: str) -> nn.Module:
    return network(name, seeded(7)) if name in NETWORKS else module(name, seeded(7))


def by_torch(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def saved(model: nn.Module, path: Path, x: np.ndarray = IMAGES) -> Path:
    """A module as `torch.export.save` writes it, for any batch."""
    free = ({0: torch.export.Dim.AUTO},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(
            torch.export.export(model, (torch.from_numpy(x[:2]),), dynamic_shapes=free), path
        )
    return path


def told(model: object, data: object = IMAGES) -> str:
    with pytest.raises(HwsimError) as found:
        hwsim.quantize(model, data)
    return str(found.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_module_and_its_program_are_one_float_model_whose_codes_are_those_of_qonnx(
    name, tmp_path
):
    model = made(name)
    wanted = by_torch(model, IMAGES[:9])
    ways = [any_float(model, IMAGES), any_float(saved(model, tmp_path / "m.pt2"))]
    for found in ways:
        (out,) = found.outputs
        (run,) = found.run([{found.inputs[0]: IMAGES[:9]}], [out])
        np.testing.assert_allclose(run[out], wanted, rtol=1e-4, atol=1e-5)
        assert found.batch is None
    assert [n.name for n in ways[0].nodes] == [n.name for n in ways[1].nodes]
    found = hwsim.quantize(ways[0].proto, IMAGES[:64], bits="w5a8")
    ours = hwsim.emulate(found.graph, IMAGES[:6])
    assert ours.tolist() == executed(found.proto, IMAGES[:6]).tolist()
    assert np.unique(ours).size > 10


def test_layers_have_the_names_of_their_modules_and_patterns_find_them():
    found = hwsim.quantize(network("residual", seeded(1)), IMAGES[:64], layers={"same.*": "w3"})
    bits = {row["name"]: row["weight_bits"] for row in found.rows if "weight_bits" in row}
    wide = dict.fromkeys(("stem.0", "skip.0", "halved.0", "head"), 8)
    assert bits == {**wide, "same.0": 3, "same.3": 3}


def test_a_module_with_two_inputs_takes_them_by_name_in_any_order():
    torch.manual_seed(seeded(3))
    model = TwoInputs().eval()
    named = {"numbers": ROWS[:64], "image": IMAGES[:64]}
    found = hwsim.quantize(model, named, bits="w8a8")
    wanted = model(torch.from_numpy(IMAGES[:64]), torch.from_numpy(ROWS[:64])).detach().numpy()
    ours = hwsim.emulate(found.graph, named)
    assert found.sqnr > 25
    assert np.abs(ours - wanted).max() < 0.1 * np.abs(wanted).max()
    wrong = {"numbers": ROWS, "picture": IMAGES}
    assert told(model, wrong) == (
        "inputs must be named ['image', 'numbers'], not ['numbers', 'picture']"
    )


def test_batches_from_a_generator_function_give_the_example_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    whole = hwsim.quantize(model, IMAGES[:64]).graph
    parts = hwsim.quantize(model, lambda: (IMAGES[i : i + 16] for i in range(0, 64, 16))).graph
    assert parts.hash() == whole.hash()
    assert "gone through again, not list_iterator" in told(model, iter([IMAGES]))


def test_a_module_teaches_begins_and_is_measured_beside_its_integers():
    torch.manual_seed(seeded(4))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    x, labels = torch.from_numpy(IMAGES[:1000]), torch.from_numpy(DIGITS.target[:1000])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    model.eval()
    test = IMAGES[1000:], DIGITS.target[1000:]
    graph = hwsim.quantize(model, IMAGES[:1000], bits="w3a4").graph
    found = hwsim.accuracy(graph, *test, reference=model)
    assert found.reference.right == int((by_torch(model, test[0]).argmax(1) == test[1]).sum())
    taught = hwsim.distil(
        graph, IMAGES[:1000], teacher=model, start=model, test=test, epochs=4, check=True
    )
    assert taught.after.right > taught.before.right
    parts = hwsim.attribute(graph, model, *test)
    assert [one["tensor"] for one in parts.to_dict()["layers"]][-1] == graph.outputs[0].name


def test_the_command_takes_a_saved_program(tmp_path):
    path = saved(made("shared"), tmp_path / "net.pt2")
    np.savez(tmp_path / "d.npz", x=IMAGES[:100], y=DIGITS.target[:100])
    out = tmp_path / "m.onnx"
    call = ["quantize", str(path), "--data", str(tmp_path / "d.npz"), "-o", str(out), "--json"]
    found = CliRunner().invoke(app, call)
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    assert facts["accuracy"]["float"]["right"] >= 0
    x = IMAGES[:5]
    assert hwsim.emulate(hwsim.load(out), x).tolist() == executed_file(out, x)


def executed_file(path: Path, x: np.ndarray) -> list[object]:
    import onnx

    return executed(onnx.load(str(path)), x).tolist()


def test_a_module_in_training_is_refused_with_the_part_that_is():
    model = network("residual", seeded(1))
    model.stem[1].train()
    assert told(model) == (
        "the Residual must be in evaluation mode, since batch norms and dropout are others in "
        "training, but its part 'stem.1' is in training; call .eval() first"
    )
    assert "but it is in training; call .eval() first" in told(model.train())
    dropped = Called(lambda x: nn.functional.dropout(x, 0.5, True)).eval()
    assert told(dropped, ROWS) == (
        "the Called must not drop numbers as in training, as aten.dropout 'dropout' do"
    )


def test_operators_without_a_rule_are_listed_with_their_modules():
    parts = (nn.Linear(8, 8), Sorted(), nn.Linear(8, 8), Sorted())
    assert told(nn.Sequential(*parts).eval(), ROWS) == (
        "the Sequential must have only operators that there is a rule to quantize for, not TopK "
        "'1/sort__1', TopK '3/sort_1__1'"
    )
    strange = nn.Sequential(nn.Linear(8, 8), Unlike(), nn.Linear(8, 8), Unlike())
    assert told(strange.eval(), ROWS) == (
        "the Sequential must have only operators that PyTorch's ONNX exporter knows, not "
        "aten.special_bessel_j0 '1', aten.special_bessel_j0 '3'"
    )
    assert told(Recurrent().eval()).endswith("to quantize for, not GRU 'rnn/gru__1'")


def test_numbers_of_another_kind_are_refused_by_name():
    assert told(nn.Sequential(nn.Linear(8, 4)).double().eval(), ROWS) == (
        "the Sequential must be of float32 (module.float() makes it so), not have '0.weight' of "
        "float64, '0.bias' of float64"
    )
    assert told(Called(lambda x: torch.fft.fft(x).abs()).eval(), ROWS) == (
        "the Called must compute in float32 alone, not aten.fft_fft 'fft_fft' in complex64"
    )
    assert told(Called(lambda x: x.double().relu().float()).eval(), ROWS) == (
        "the Called must compute in float32 alone, not aten.to 'to' in float64, aten.relu 'relu' "
        "in float64"
    )


def test_branches_are_refused_with_what_helps():
    written_out = (
        "branches and loops have no place in a fixed graph: the branch that is taken, alone, and "
        "the steps of a loop, written out, are read"
    )
    asked = told(Called(lambda x: x if x.sum() > 0 else -x).eval(), ROWS)
    assert asked.startswith(
        "the Called must be one that torch.export.export takes with its samples, which raises "
        "GuardOnDataDependentSymNode ("
    )
    assert asked.endswith(f"; {written_out}")
    both = Called(lambda x: torch.cond(x.sum() > 0, torch.relu, torch.neg, (x,))).eval()
    assert told(both, ROWS) == f"the Called must have no higher_order.cond 'cond': {written_out}"


def test_what_does_not_fit_is_told_in_the_words_of_the_module():
    assert told(Vgg().eval(), IMAGES[:, :, :5, :5]).startswith(
        "the Vgg must run on its samples, of shape (2, 1, 5, 5), but raises RuntimeError ("
    )
    assert told(Called(lambda x: x.reshape(1, -1)).eval(), ROWS) == (
        "the Called must give tensors with a row for each sample, not (1, 20) for samples of shape "
        "(2, 8)"
    )
    assert told(TwoInputs().eval()).startswith(
        "the TwoInputs must run on its samples, of shape (2, 1, 8, 8), but raises TypeError ("
    )
    assert told(Vgg().eval(), IMAGES[:0]) == (
        "samples for the Vgg must have a batch of at least one, not none"
    )
    assert told(3) == (
        "the float model must be an ONNX file, a .pt2 file, a ModelProto, or a module or an "
        "exported program of PyTorch, not int"
    )


def changed(path: Path, old: str, new: str) -> Path:
    """A program's file with other text in its JSON."""
    held = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(held) as before, zipfile.ZipFile(path, "w") as after:
        for info in before.infolist():
            raw = before.read(info)
            if info.filename.endswith("models/model.json"):
                assert old.encode() in raw
                raw = raw.replace(old.encode(), new.encode())
            after.writestr(info.filename, raw)
    return path


def test_nothing_in_a_file_is_executed(tmp_path):
    mark, whole = tmp_path / "made", saved(made("vgg"), tmp_path / "net.pt2").read_bytes()
    for number, target in enumerate(("os.system", "builtins.eval", "torch.ops.aten.from_file")):
        path = tmp_path / f"{number}.pt2"
        path.write_bytes(whole)
        changed(path, "torch.ops.aten.max_pool2d.default", f"{target}.default")
        said = told(path)
        assert said.startswith(f"{path} must have only PyTorch's own operators on tensors, not ")
        assert said.count("'features.4'") == said.count("'features.7'") == 1
    symbol = saved(made("shared"), tmp_path / "s.pt2")
    text = zipfile.ZipFile(symbol).read(
        next(n for n in zipfile.ZipFile(symbol).namelist() if n.endswith("models/model.json"))
    )
    named = next(name for name in ("s77", "s31", "s0", "s26") if f"'{name}'".encode() in text)
    changed(symbol, f"'{named}'", f"'{named}' if open({str(mark)!r}, 'w') else ''")
    hwsim.quantize(symbol, IMAGES[:16])
    assert not mark.exists()


def test_a_quantized_program_and_another_file_are_refused(tmp_path):
    other = tmp_path / "net.tflite"
    other.write_bytes(b"TFL3")
    assert told(other) == (
        f"{other} must be a float ONNX file (torch.onnx.export and tf2onnx write one) or a .pt2 of "
        "torch.export.save, not of another kind"
    )
    open_length = torch.export.export(
        Called(lambda x: x.sum((1, 2))).eval(),
        (torch.zeros(2, 4, 8),),
        dynamic_shapes=({1: torch.export.Dim.AUTO},),
    )
    torch.export.save(open_length, tmp_path / "open.pt2")
    assert told(tmp_path / "open.pt2", np.zeros((4, 4, 8))) == (
        f"{tmp_path / 'open.pt2'}: input 'x' must have a known shape behind its batch"
    )
    quantizer = torch.ops.quantized_decomposed.quantize_per_tensor
    rounded = Called(lambda x: quantizer(x, 0.1, 0, -128, 127, torch.int8)).eval()
    torch.export.save(torch.export.export(rounded, (torch.zeros(2, 8),)), tmp_path / "q.pt2")
    assert told(tmp_path / "q.pt2", ROWS) == (
        f"{tmp_path / 'q.pt2'} must be a float program, not one that is quantized already; hwsim "
        "reads it as it is"
    )
