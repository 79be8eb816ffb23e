"""Damaged ONNX files: a Graph or one sentence, in little time and memory; no other is read."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_models as om
from support.mutants import mutated, sentences
from support.onnx_mutants import damaged
from support.qonnx_nets import Net
from support.tensorrt_nets import residual

import hwsim

SHORT, LONG = 200, 20_000
PYTHON = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))
SOURCES = (".py", ".pyc", ".so")


def quantized_chain() -> bytes:
    """A QONNX network."""
    net = Net(1)
    x = net.do("MatMul", [net.start(8), net.weights((8, 6))])
    return net.model(net.quant(net.do("Relu", [x]), 0.25, 4), 6).SerializeToString()


def models() -> dict[str, tuple[bytes, str | None]]:
    """Whole files of each kind, and what they are to be like."""
    made = {
        "QDQ": om.conv(then="Relu"),
        "QOperator": om.qlinear_conv(),
        "dense": om.gemm(),
        "pool": om.pool("AveragePool"),
        "TensorRT": residual(1),
    }
    likes: dict[str, str | None] = {"TensorRT": "tensorrt", "dense": "tvm"}
    found = {n: (m.SerializeToString(), likes.get(n)) for n, m in made.items()}
    return found | {"QONNX": (quantized_chain(), None)}


class Watched:
    """A reader that may open its own file, and what Python is made of; anything else fails."""

    def __init__(self, folder: Path, like: str | None) -> None:
        self.folder, self.like, self.watching = os.path.realpath(folder), like, False

    def _opened(self, event: str, given: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(given[0], str):
            return
        path = os.path.realpath(given[0])
        allowed = (self.folder, *map(os.path.realpath, (*PYTHON, Path(hwsim.__file__).parent)))
        assert path.startswith(allowed) or path.endswith(SOURCES), f"opened {path}"

    def __call__(self, path: Path) -> object:
        if not self.watching:  # in the child process alone
            self.watching = True
            sys.addaudithook(self._opened)
        return hwsim.load(path, like=self.like)


def files(good: bytes, count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """A quarter damaged in their bytes, the others in what they mean."""
    for number in range(count):
        yield (mutated if number % 4 == 0 else damaged)(good, rng)


@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_damaged_file_is_a_graph_or_a_sentence(count: int, tmp_path: Path, rng) -> None:
    said: list[str | None] = []
    kinds = models()
    for good, like in kinds.values():
        some = files(good, count // len(kinds), rng)
        said += sentences(Watched(tmp_path, like), some, tmp_path / "model.onnx")
    read = sum(text is None for text in said)
    print(f"{read} of {len(said)} read, {len(set(said))} sentences")
    assert len(said) // 20 < read < len(said) // 2


@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize(
    ("reader", "match"),
    [
        (lambda path: Path("/etc/hostname").read_text(encoding="utf-8"), "opened /etc/hostname"),
        (lambda path: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_another_file_and_another_exception_are_noticed(
    reader: Callable[[Path], object], match: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(hwsim, "load", lambda path, like: reader(path))
    with pytest.raises(AssertionError, match=match):
        sentences(Watched(tmp_path, None), [b"x"], tmp_path / "model.onnx")
