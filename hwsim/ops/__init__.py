"""Integer operators: each a frozen dataclass with its shape, format, range and arithmetic."""

from hwsim.ops.accumulate import EXACT, Accumulator, Exact, Stepwise
from hwsim.ops.base import Carrier, Op, Quant, TensorType, Work
from hwsim.ops.conv import Conv2D
from hwsim.ops.dense import Dense
from hwsim.ops.elementwise import Relu, Table
from hwsim.ops.pairs import Add
from hwsim.ops.pool import AvgPool, MaxPool
from hwsim.ops.requantize import Cast, Requantize, Scheme
from hwsim.ops.scale import BatchNorm, Divide
from hwsim.ops.scaled_add import ScaledAdd
from hwsim.ops.shape import ArgMax, Concat, Flatten, Reshape, Split, Transpose
from hwsim.ops.weighted import Weighted
from hwsim.ops.window import Window

OPERATORS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        Add, ArgMax, AvgPool, BatchNorm, Cast, Concat, Conv2D, Dense, Divide, Flatten, MaxPool,
        Relu, Requantize, Reshape, ScaledAdd, Split, Table, Transpose,
    )
}  # fmt: skip

__all__ = [
    "EXACT",
    "OPERATORS",
    "Accumulator",
    "Add",
    "ArgMax",
    "AvgPool",
    "BatchNorm",
    "Carrier",
    "Cast",
    "Concat",
    "Conv2D",
    "Dense",
    "Divide",
    "Exact",
    "Flatten",
    "MaxPool",
    "Op",
    "Quant",
    "Relu",
    "Requantize",
    "Reshape",
    "ScaledAdd",
    "Scheme",
    "Split",
    "Stepwise",
    "Table",
    "TensorType",
    "Transpose",
    "Weighted",
    "Window",
    "Work",
]
