"""Every command on every kind of file: a right result, or one sentence and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import pte_models
from support.cli_calls import refused, run, tiny
from support.pte_models import CONVERT, FULLY_CONNECTED, NOTHING, Blob
from support.seeds import seeded
from support.small_ir import ir
from support.streams import STREAMS
from support.tflite_models import Lite, Written

import hwsim
from hwsim.onnx_export import write_model

SAMPLES = 3
Maker = Callable[[Path], Path]


def qdq(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(Path("examples/models/digits_cnn_asym.onnx").read_bytes())
    return path


def qonnx(folder: Path) -> Path:
    write_model(hwsim.load(qdq(folder)), folder / "q.onnx", form="qonnx", samples=0)
    return folder / "q.onnx"


def lite(folder: Path, kind: str = "int8") -> Path:
    """Two dense layers of a kind of activations."""
    made = Lite()
    zero = 0 if kind == "int16" else 3
    x, y = (made.codes(n, (1, 4), 0.5, zero, kind) for n in "xy")
    made.node("RELU", [x], [y])
    (folder / "m.tflite").write_bytes(made.build([x], [y]))
    return folder / "m.tflite"


def executorch(folder: Path) -> Path:
    """A dense layer between reals."""
    blob = Blob()
    x, codes = blob.tensor(1, 4), blob.tensor(1, 4, scale=0.25, zero=-5)
    weights = (np.arange(12).reshape(3, 4) * 5 - 30).astype(np.int8)
    held = blob.constant(weights, np.array([0.5, 0.25, 0.125], np.float32))
    made, y = blob.tensor(1, 3, scale=0.75, zero=2), blob.tensor(1, 3)
    blob.node(CONVERT, x, codes)
    blob.node(FULLY_CONNECTED, codes, held, NOTHING, made)
    blob.node(CONVERT, made, y)
    path = folder / "m.pte"
    path.write_bytes(pte_models.program(blob.build([x], [y]), [(1, 4)], [(1, 3)]))
    return path


def exported(folder: Path) -> Path:
    from support.exported import Maker, saved
    from support.exported_operators import OPERATORS

    maker = Maker(np.random.default_rng(seeded(1)))
    (folder / "m.pt2").write_bytes(saved(maker.exported(OPERATORS["linear"][0](maker))))
    return folder / "m.pt2"


def graph(folder: Path) -> Path:
    tiny().save(folder / "m.hwsim")
    return folder / "m.hwsim"


def remembering(folder: Path) -> Path:
    STREAMS[0].graph().save(folder / "m.hwsim")
    return folder / "m.hwsim"


FILES: dict[str, tuple[Maker, str | None, str]] = {
    "QDQ": (qdq, None, "qdq qonnx"),
    "QDQ like OpenVINO": (qdq, "openvino", "qonnx"),
    "QDQ like TVM": (qdq, "tvm", ""),
    "QONNX": (qonnx, None, ""),
    "int8 .tflite": (lite, "xnnpack", "qdq qonnx"),
    "int16 .tflite": (lambda folder: lite(folder, "int16"), None, "qdq"),
    "IR": (ir, None, ""),
    ".pte": (executorch, None, ""),
    ".pt2": (exported, "torch", ""),
    ".hwsim": (graph, None, "qdq qonnx"),
    "state": (remembering, None, ""),
}
"""How each is made, whose integers it has, and what of QDQ and QONNX is read back to it."""
KINDS = [
    pytest.param(kind, marks=pytest.mark.needs("torch", "torchao")) if kind == ".pt2" else kind
    for kind in FILES
]


def fed(facts: dict[str, Any], folder: Path) -> list[object]:
    """Options that give each input of a model random samples in its user's shape."""
    rng, options = np.random.default_rng(seeded(1)), []
    for port in facts["inputs"]:
        steps = (4,) if facts["state"] else ()
        low, high = port["range"]
        x = rng.uniform(low, high, (SAMPLES, *steps, *port["user_shape"]))
        if port["element"] == "real":
            x = ((x - port["zero_point"]) * port["scale"][0]).astype(np.float32)
        else:
            x = x.astype(port["element"])
        np.save(folder / f"{len(options)}.npy", x)
        name = f"{port['name']}=" if len(facts["inputs"]) > 1 else ""
        options += ["-i", f"{name}{folder / f'{len(options)}.npy'}"]
    return options


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_each_command_gives_what_the_library_gives_or_one_sentence(kind, tmp_path, capsys):
    make, like, read_back = FILES[kind]
    path = make(tmp_path)
    more = [] if like is None else ["--like", like]
    out = tmp_path / "out"
    out.mkdir()

    def done(*arguments: object) -> str:
        status, said, err = run(capsys, *arguments, *more)
        assert status == 0, err
        return said

    facts = json.loads(done("inspect", path, "--json"))
    text = " ".join(done("inspect", path).split())
    totals = facts["totals"]
    assert facts["hash"] in text
    assert f"weights: {totals['weights']:,}" in text and f"{totals['weight_bits']:,} bits" in text
    assert f"total {totals['macs']:,}" in text if totals["macs"] else True
    for node in facts["nodes"]:
        assert node["rounding"] is None or node["rounding"] in text
    loaded = hwsim.load(path, like=like)
    assert facts["hash"] == loaded.hash()
    given = fed(facts, tmp_path)
    x = np.load(str(given[1]).rpartition("=")[2])

    done("emulate", path, *given, "-o", out / "y.npy")
    want = hwsim.emulate(loaded, x)
    assert np.array_equal(np.load(out / "y.npy"), want)

    json.loads(done("explore", path, "-o", out / "explorer", *given, "--json"))
    for file in (out / "explorer").iterdir():
        json.loads(file.read_text(), parse_constant=lambda word: pytest.fail(word))

    done("to-onnx", path, "-o", out / "integer.onnx", "--check", 2)
    back: list[str] = []
    for form in ("qdq", "qonnx"):
        file = out / f"{form}.onnx"
        status, told, err = run(capsys, "to-onnx", path, "-o", file, "--as", form, "--json", *more)
        assert status in (0, 2) and file.exists() == (status == 0)
        if status:
            assert err.count("error: ") == 1 and "Traceback" not in err
        elif "hwsim, read again" in json.loads(told)["check"]["by"]:
            back.append(form)
            codes = x.astype(np.float32) if form == "qonnx" else x  # which QONNX has as floats
            assert np.array_equal(hwsim.emulate(hwsim.load(file), codes), want)
    assert " ".join(back) == read_back

    if facts["state"]:
        for command in (
            ["plan", path],
            ["hazards", path, *given],
            ["build", path, "-o", out / "b"],
            ["distil", path, *given, "--teacher", path, "-o", out / "t.hwsim"],
        ):
            assert "state" in refused(capsys, *command)
        assert not (out / "b").exists()
        return
    done("hazards", path, *given)
    if not facts["hardware"]["unsupported"]:
        told = json.loads(done("plan", path, "--json"))["next"]
        assert told.startswith(f"hwsim build {path} ") and told.endswith(" ".join(more) or "")
        assert ("--like" in told) == bool(more)


# Files that are not read


def float_lite(folder: Path) -> Path:
    made = Lite()
    x, y = (made.add(Written(name, (1, 4), "float32")) for name in "xy")
    made.node("RELU", [x], [y])
    (folder / "m.tflite").write_bytes(made.build([x], [y]))
    return folder / "m.tflite"


def float_onnx(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(Path("examples/models/digits_cnn_asym.float.onnx").read_bytes())
    return path


UNREAD: dict[str, Maker] = {
    "float .tflite": float_lite,
    "float .onnx": float_onnx,
    "float IR": lambda folder: ir(folder, kind="Clamp"),
    "missing": lambda folder: folder / "m.pt2",
    "a folder": lambda folder: folder,
}


@pytest.mark.parametrize("kind", UNREAD)
def test_of_a_file_that_is_not_read_each_command_says_the_same_and_writes_nothing(
    kind, tmp_path, capsys
):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path, out = UNREAD[kind](tmp_path / "in"), tmp_path / "out"
    np.save(tmp_path / "x.npy", np.zeros((1, 4), np.float32))
    given = ("-i", tmp_path / "x.npy")
    said = {
        refused(capsys, *command)
        for command in (
            ("emulate", path, *given, "-o", out / "y.npy"),
            ("accuracy", path, *given, "--labels", tmp_path / "x.npy"),
            ("hazards", path, *given),
            ("attribute", path, "--reference", path, *given, "--page", out / "p.html"),
            ("prune", path, "-o", out / "p.hwsim"),
            ("encode", path, "--weights", "pot4", "-o", out / "c.hwsim"),
            ("plan", path, "--picture", out / "p.svg"),
            ("build", path, "-o", out / "b"),
            ("to-hls4ml", path, "-o", out / "h"),
            ("to-onnx", path, "-o", out / "o.onnx"),
            ("explore", path, "-o", out / "e", *given),
        )
    }
    assert len(said) == 1 and not any(out.iterdir())
    assert str(path) in said.pop()
