"""A target on a model of several outputs: the accuracy is that of the one that is named."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from support.cli_calls import refused, run
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("onnxruntime")
RNG = np.random.default_rng(seeded(74))
X = RNG.normal(size=(256, 8)).astype(np.float32)
WEIGHTS = {name: RNG.normal(size=(8, n)).astype(np.float32) for name, n in (("u", 5), ("v", 3))}
Y = (X @ WEIGHTS["v"]).argmax(1)
GRAPH = "g (float[N,8] x) => (float[N,5] sizes, float[N,3] classes)"
ASKED = {"target_accuracy": 0.9, "labels": Y}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    nodes = "sizes = MatMul(x, u)\nclasses = MatMul(x, v)"
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]>\n{GRAPH} {{\n{nodes}\n}}'
    )
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    proto.graph.initializer.extend(arrays)
    file = tmp_path_factory.mktemp("two") / "two.onnx"
    onnx.save(proto, file)
    np.savez(file.with_name("train.npz"), x=X, y=Y)
    return file


def right(graph, output="classes"):
    """Of the samples, in plain NumPy."""
    return float((hwsim.emulate(graph, X)[output].argmax(1) == Y).mean())


def test_functions_count_the_output_that_is_named(model):
    made = hwsim.quantize(model, X, output="classes", **ASKED)
    assert made.choice.best["accuracy"] == right(made.graph) >= 0.9
    assert right(made.graph, "sizes") < 0.5  # the mutant: another output
    small = hwsim.prune(made.graph, x=X, output="classes", **ASKED)
    assert small.choice.best["accuracy"] == right(small.graph) >= 0.9
    for call in (hwsim.quantize, lambda model, x, **how: hwsim.prune(made.graph, x=x, **how)):
        with pytest.raises(HwsimError, match="output must name the one that classifies"):
            call(model, X, **ASKED)
    with pytest.raises(HwsimError, match="output must be one of sizes, classes, not 'other'"):
        hwsim.quantize(model, X, output="other")


def test_commands_count_the_output_that_is_named(model, tmp_path, capsys):
    data = ("--data", model.with_name("train.npz"), "--target-accuracy", "90%")
    for call, out in (("prune", "p.onnx"), ("quantize", "q.hwsim")):
        line = (call, model, *data, "-o", tmp_path / out)
        status, said, told = run(capsys, *line, "--output", "classes", "--json")
        assert status == 0, told
        facts = json.loads(said)
        assert facts["choice"]["best"]["accuracy"] >= 0.9
    assert facts["accuracy"]["integer"]["top1"] == right(hwsim.load(tmp_path / "q.hwsim"))
    assert "not 'other'" in refused(capsys, *line, "--output", "other")


@pytest.mark.parametrize("kinds", [("quantize",), ("prune", "quantize"), ("quantize", "prune")])
def test_a_recipe_counts_the_output_that_it_names(kinds, model, capsys):
    file = model.with_name(f"{'-'.join(kinds)}.toml")
    steps = "".join(f'[[step]]\ndo = "{kind}"\ntarget_accuracy = 0.9\n' for kind in kinds)
    train = model.with_name("train.npz")
    data = f'[data]\ntrain = "{train}"\ntest = "{train}"\noutput = "classes"\n'
    file.write_text(f'model = "{model}"\nout = "{file.stem}"\n{data}{steps}')
    status, _, told = run(capsys, "compress", file)
    assert status == 0, told
    report = json.loads((file.with_suffix("") / "report.json").read_text())
    best = [step["facts"]["choice"]["best"] for step in report["steps"][1:]]
    assert all(one["accuracy"] >= 0.9 for one in best)
    assert best[-1]["accuracy"] == right(hwsim.load(file.with_suffix("") / "model.hwsim"))
