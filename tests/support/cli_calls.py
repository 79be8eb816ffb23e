"""Calls of the command line inside the test's own process, and a tiny model for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwsim.cli import main
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, TensorType


def tiny(width: int = 4) -> Graph:
    """One dense layer of 4-bit weights, 4 inputs of 8 bits to 2 outputs."""
    weights = np.arange(-8, 8).repeat(2)[: 4 * 2].reshape(4, 2)
    dense = Dense(weights=weights, bias=np.array([1, -2]), weight_format=Format.int(width))
    port = InputPort(name="x", tensor="x", type=TensorType((4,), Format.int(8)))
    return Graph((port,), (Node("dense", dense, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


def run(capsys: Any, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one call."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def refused(capsys: Any, *arguments: object, status: int = 2) -> str:
    """The one sentence of a call that must fail."""
    got, out, err = run(capsys, *arguments)
    assert got == status
    assert out == "" and "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("error: ")
