"""Integer types of ONNX as formats."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.model import OnnxNode

WIDTHS = {"int8": 8, "uint8": 8, "int4": 4, "uint4": 4, "int16": 16, "uint16": 16, "int32": 32}


def format_of(node: OnnxNode, dtype: str) -> Format:
    """The format of an integer type of ONNX."""
    if dtype not in WIDTHS:
        raise HwsimError(f"{node}: its codes must be integers of 4, 8, 16 or 32 bits, not {dtype}")
    width = WIDTHS[dtype]
    return Format.uint(width) if dtype.startswith("u") else Format.int(width)
