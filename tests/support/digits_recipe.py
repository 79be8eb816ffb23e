"""A recipe of the digits, and what one has left."""

from __future__ import annotations

import json
from pathlib import Path

import digits
import numpy as np

FLOAT = Path(digits.__file__).parent.resolve() / "hls4ml" / "digits.float.onnx"
TRAINED, TESTED = 256, 128

STEPS = """
[[step]]
do = "quantize"
bits = "w4a4"

[[step]]
do = "prune"
amount = 0.5

[[step]]
do = "distil"
epochs = 3
batch = 64
rate = 3e-3
learn_steps = true

[[step]]
do = "attribute"

[[step]]
do = "plan"
"""
BUILD = '\n[[step]]\ndo = "build"\nrtl_only = true\n'


def recipe(folder: Path, steps: str = STEPS, out: str = "made", model: Path = FLOAT) -> Path:
    """A recipe of the digits in a folder, beside the data that it reads."""
    if not (folder / "train.npz").exists():
        data = digits.load()
        np.savez(folder / "train.npz", x=data.train_images[:TRAINED], y=data.train_labels[:TRAINED])
        np.savez(folder / "test.npz", x=data.test_images[:TESTED], y=data.test_labels[:TESTED])
    file = folder / f"{out}.toml"
    head = f'model = "{model}"\nout = "{out}"\nseed = 3\n'
    file.write_text(head + '[data]\ntrain = "train.npz"\ntest = "test.npz"\n' + steps)
    return file


def facts(folder: Path) -> dict:
    """What a recipe left, but for how long it took and where it lies."""
    found = json.loads((folder / "report.json").read_text())
    for row in found["steps"]:
        del row["seconds"], row["kept"]
    return {key: found[key] for key in ("steps", "seed", "target", "failed")}


def made(folder: Path) -> dict[str, str]:
    """The hash of each file of each finished step, by its place."""
    return {
        f"{one.parent.name}/{name}": digest
        for one in sorted(folder.glob("steps/*/step.json"))
        for name, digest in json.loads(one.read_text())["files"].items()
        if name != "build/build.json"  # which says how long it took
    }
