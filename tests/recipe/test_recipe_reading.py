"""A recipe is checked as a whole first: one sentence with file and step, and nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import digits
import numpy as np
import pytest
from support.cli_calls import refused, run

from hwsim.recipe.keys import at_place
from hwsim.recipe.reading import read_recipe

MODELS = Path(digits.__file__).parent / "models"
FLOAT = MODELS / "digits_cnn_int8.float.onnx"
HEAD = f'model = "{FLOAT}"\nout = "made"\n'
DATA = '[data]\ntrain = "set:digits/train"\ntest = "set:digits/test"\n'
QUANTIZE = '[[step]]\ndo = "quantize"\n'


def step(do: str, more: str = "") -> str:
    return f'[[step]]\ndo = "{do}"\n{more}\n'


SENTENCES = {
    "no TOML": ("model = [", "{file} must be TOML: "),
    "no steps": (HEAD, "{file} must have steps, each a table [[step]], not none"),
    "steps that are a table": (HEAD + "[step]\n", "{file} must have steps, each a table [[step]]"),
    "no model": ('out = "made"\n' + QUANTIZE, "{file}: model must be given: the name of a file"),
    "a key of the recipe that there is not": (
        HEAD + "sed = 3\n" + DATA + QUANTIZE,
        ("{file}: a key must be one of model, out, seed, like, target, clock, data, step "
        "(perhaps seed), not 'sed'"),
    ),
    "a key of the data that there is not": (
        HEAD + DATA + 'trian = "x.npy"\n' + QUANTIZE,
        ("{file}, [data]: a key must be one of calibration, train, train_labels, test, "
        "test_labels, classes, output, scale, mean, std, resize (perhaps train), not 'trian'"),
    ),
    "labels without samples": (
        HEAD + '[data]\ntrain_labels = "y.npy"\n' + QUANTIZE,
        "{file}, [data]: train_labels must come with train, whose labels they are",
    ),
    "a scale that is none": (
        HEAD + DATA + 'scale = "1/0"\n' + QUANTIZE,
        "{file}, [data]: scale must be a number above 0 such as 1/255, not '1/0'",
    ),
    "a step that does nothing": (
        HEAD + DATA + "[[step]]\nbits = 3\n",
        ("{file}, step 1: do must say what the step does, quantize, prune, encode, finetune, "
        "distil, attribute, plan, build, verify, not nothing"),
    ),
    "a step that there is not": (
        HEAD + DATA + QUANTIZE + step("finetun"),
        ("{file}, step 2: do must be one of quantize, prune, encode, finetune, distil, attribute, "
        "plan, build, verify (perhaps finetune), not 'finetun'"),
    ),
    "an option that there is not": (
        HEAD + DATA + QUANTIZE + step("finetune", "epoch = 3"),
        "{file}, step 2 (finetune): a key must be one of ",
    ),
    "an option of another type": (
        HEAD + DATA + QUANTIZE + step("finetune", 'epochs = "3"'),
        "{file}, step 2 (finetune): epochs must be a whole number, not '3'",
    ),
    "an option given twice": (
        HEAD + DATA + QUANTIZE + "per_tensor = true\nper-tensor = true\n",
        "{file}, step 1 (quantize): per-tensor must be given once, not also with another spelling",
    ),
    "an option that the step refuses": (
        HEAD + DATA + QUANTIZE + 'bits = "4"\n',
        "{file}, step 1 (quantize): bits must be like w4a8, from 1 to 16 each, not '4'",
    ),
    "an encoding without its set": (
        HEAD + DATA + QUANTIZE + step("encode"),
        "{file}, step 2 (encode): weights must be given: a text in quotes",
    ),
    "a set of weights that there is not": (
        HEAD + DATA + QUANTIZE + step("encode", 'weights = "pot9"'),
        ("{file}, step 2 (encode): a set of weights must be ternary, pot2 to pot8, apot3 to apot8 "
        "or codebook1 to codebook8, not 'pot9'"),
    ),
    "an amount beyond all": (
        HEAD + DATA + step("prune", "amount = 1.5") + QUANTIZE,
        "{file}, step 1 (prune): ",
    ),
    "training that is left to a float network": (
        HEAD + DATA + step("finetune") + QUANTIZE,
        ("{file}, step 1 (finetune) must come after the step that quantizes, since it takes a "
        "network of integers"),
    ),
    "quantizing twice": (
        HEAD + DATA + QUANTIZE + QUANTIZE,
        ("{file}, step 2 (quantize) must come while the network is a float one, not after step 1 "
        "(quantize)"),
    ),
    "channels of a float network": (
        HEAD + DATA + step("prune", 'pattern = "channels"') + QUANTIZE,
        ("{file}, step 1 (prune): channels must come after the step that quantizes; a float "
        "network is pruned by the magnitude of its weights"),
    ),
    "a check of no build": (
        HEAD + DATA + QUANTIZE + step("verify"),
        "{file}, step 2 (verify) must come after a step that does 'build'",
    ),
    "a target that there is not": (
        HEAD + DATA + QUANTIZE + step("build", 'target = "ecp6"'),
        "{file}, step 2 (build): target must be one of ",
    ),
    "attribution without a float model": (
        HEAD + DATA + step("attribute"),
        ("{file}, step 1 (attribute) must have the float model that the network came from, so the "
        "recipe's model must be the float one, and a step must quantize it"),
    ),
    "training without samples": (
        HEAD + '[data]\ncalibration = "set:digits/train"\n' + QUANTIZE + step("distil"),
        "{file}, step 2 (distil) must have data: {file}, [data] has no train",
    ),
    "data that are not there": (
        HEAD + '[data]\ntrain = "x.npy"\n' + QUANTIZE,
        "{file}, [data], calibration: ",
    ),
    "a model that is not there": (
        'model = "no.onnx"\nout = "made"\n' + DATA + QUANTIZE,
        "no.onnx",
    ),
    "labels that are missing": (
        HEAD + '[data]\ntrain = "y.npy"\n' + QUANTIZE + step("finetune"),
        "{file}, [data], train: labels must be given",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_what_is_wrong_is_told_before_anything_is_written(name, tmp_path, capsys):
    file = tmp_path / "r.toml"
    text, wanted = SENTENCES[name]
    file.write_text(text)
    np.save(tmp_path / "y.npy", np.zeros((2, 1, 8, 8), np.float32))
    wanted = wanted.format(file=file)
    said = refused(capsys, "compress", file)
    assert said.startswith(wanted) if wanted.startswith(str(file)) else wanted in said
    assert sorted(one.name for one in tmp_path.iterdir()) == ["r.toml", "y.npy"]


LACKING = {
    "finetune": (step("finetune"), "torch", "step 2 (finetune): training needs torch"),
    "distil": (step("distil"), "array_api_compat", "step 2 (distil): training needs array_api_c"),
    "rounds": (step("prune", "epochs_a_round = 1"), "torch", "step 2 (prune): training needs tor"),
    "scores": (step("prune", 'by = "taylor"'), "torch", "step 2 (prune): training needs torch"),
    "build": (step("build"), "amaranth", "step 2 (build): hardware needs amaranth"),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_library_that_a_late_step_needs_is_told_first(name, tmp_path, capsys, monkeypatch):
    steps, library, said = LACKING[name]
    file = tmp_path / "r.toml"
    file.write_text(HEAD + DATA + QUANTIZE + steps)
    monkeypatch.setitem(sys.modules, library, None)
    for more in ((), ("--check",)):
        told = refused(capsys, "compress", file, *more)
        assert told.startswith(f"{file}, {said}") and told.endswith("not missing")
    assert [one.name for one in tmp_path.iterdir()] == ["r.toml"]


def test_how_a_step_quantizes_says_what_it_needs(tmp_path, capsys, monkeypatch):
    file = tmp_path / "r.toml"
    for more, library in (
        ('rounding = "adaptive"', "torch"),
        ("target_bits = 50000", "scipy"),
        ("target_cycles = 4000", "scipy"),
    ):
        file.write_text(HEAD + DATA + QUANTIZE + more)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            said = refused(capsys, "compress", file)
        assert said.startswith(f"{file}, step 1 (quantize): ") and f"needs {library}, " in said
    assert [one.name for one in tmp_path.iterdir()] == ["r.toml"]


def test_a_pruning_for_a_target_says_what_it_needs(tmp_path, capsys, monkeypatch):
    file = tmp_path / "r.toml"
    file.write_text(HEAD + DATA + QUANTIZE + step("prune", "target_bits = 50000"))
    monkeypatch.setitem(sys.modules, "scipy", None)
    said = refused(capsys, "compress", file)
    assert said.startswith(f"{file}, step 2 (prune): a choice of amounts needs scipy, ")


def test_a_program_that_verification_needs_is_told_first(tmp_path, capsys, monkeypatch):
    file = tmp_path / "r.toml"
    file.write_text(HEAD + DATA + QUANTIZE + step("build", "rtl_only = true") + step("verify"))
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(capsys, "compress", file)
    assert said.startswith(f"{file}, step 3 (verify): perl, make, g++ must be on PATH, not missing")
    assert [one.name for one in tmp_path.iterdir()] == ["r.toml"]


def test_another_file_than_toml_is_refused_with_how_to_begin(tmp_path, capsys):
    said = refused(capsys, "compress", tmp_path / "r.json")
    assert said == (
        f"a recipe must be a .toml file, not '{tmp_path / 'r.json'}' (`hwsim compress --new "
        "recipe.toml` writes one to begin with)"
    )


def test_a_new_recipe_can_be_read_and_is_never_written_over_another(tmp_path, capsys):
    file = tmp_path / "r.toml"
    status, out, _ = run(capsys, "compress", "--new", file)
    assert status == 0 and str(file) in out
    assert [one.do for one in read_recipe(file).steps] == [
        "quantize", "prune", "distil", "attribute", "build", "verify"
    ]  # fmt: skip
    before = file.read_bytes()
    assert (
        refused(capsys, "compress", "--new", file) == f"{file} must be a new file, and there is one"
    )
    assert file.read_bytes() == before


def test_paths_are_those_beside_the_recipe(tmp_path):
    (tmp_path / "a=b.npy").touch()
    for text, wanted in {
        "x.npz:images": f"{tmp_path}/x.npz:images",
        "image=x.npy": f"image={tmp_path}/x.npy",
        "a=b.npy": f"{tmp_path}/a=b.npy",
        "/data/x.npy": "/data/x.npy",
        "set:digits/train": "set:digits/train",
        "set:mnist/test:files": f"set:mnist/test:{tmp_path}/files",
        "image=set:mnist/test:/files": "image=set:mnist/test:/files",
    }.items():
        assert at_place(tmp_path, text) == wanted


def test_a_target_of_the_call_stands_in_the_place_of_the_steps_own(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(HEAD + DATA + QUANTIZE + "target-bits = 60000\n" + step("finetune"))
    found = read_recipe(file, target_cycles=900).steps[0].values
    assert (found["target_bits"], found["target_cycles"]) == (None, 900)
    assert read_recipe(file).steps[0].values["target_bits"] == 60000


@pytest.mark.parametrize(
    ("steps", "option", "words"),
    [
        (
            step("finetune"),
            ["--target-bits", "9"],
            "{file} must have one step that quantizes, for target_bits, not 0",
        ),
        (
            QUANTIZE,
            ["--target-accuracy", "150%"],
            "{file}, step 1 (quantize): the target accuracy must be ",
        ),
    ],
    ids=["no step that quantizes", "an accuracy above 1"],
)
def test_a_target_of_the_call_that_cannot_be_is_refused(capsys, tmp_path, steps, option, words):
    file = tmp_path / "recipe.toml"
    file.write_text(HEAD + DATA + steps)
    said = refused(capsys, "compress", str(file), *option)
    assert said.startswith(words.format(file=file))
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_seed_target_and_clock_of_the_recipe_are_those_of_its_steps(tmp_path):
    file = tmp_path / "r.toml"
    more = (
        step("finetune")
        + step("distil", "seed = 2")
        + step("build")
        + step("plan", 'clock = "9MHz"')
    )
    file.write_text(
        HEAD + 'seed = 5\ntarget = "ecp5-85k"\nclock = "20MHz"\n' + DATA + QUANTIZE + more
    )
    found = read_recipe(file).steps
    assert [found[1].values["seed"], found[2].values["seed"]] == [5, 2]
    assert [found[3].values[name] for name in ("target", "clock")] == ["ecp5-85k", "20MHz"]
    assert [found[4].values[name] for name in ("target", "clock")] == ["ecp5-85k", "9MHz"]


def test_values_are_written_as_toml_has_them_or_as_the_commands_take_them(tmp_path):
    file = tmp_path / "r.toml"
    table = QUANTIZE + 'layer = { "conv*" = "w8", logits = "a4" }\ncorrect-bias = true\n'
    listed = QUANTIZE + 'layer = ["conv*=w8", "logits=a4"]\ncorrect_bias = true\n'
    found = []
    for steps in (table, listed):
        file.write_text(HEAD + DATA + "mean = [0.5, 1]\nscale = 0.25\n" + steps)
        found.append(read_recipe(file))
    assert found[0].steps[0].values == found[1].steps[0].values
    assert found[0].steps[0].values["layer"] == {"conv*": "w8", "logits": "a4"}
    assert found[0].setting.prepare.mean == (0.5, 1.0) and found[0].setting.prepare.scale == (
        0.25,
        1.0,
    )


def test_the_recipe_of_the_page_is_the_example():
    page = Path("docs/compression/recipe.md").read_text()
    shown = page.split("<!-- recipe: examples/digits.toml -->")[1].split("<!-- end of recipe -->")[
        0
    ]
    assert shown.strip() == f"```toml\n{Path('examples/digits.toml').read_text()}```"
