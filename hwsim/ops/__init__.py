"""Integer operators: each a frozen dataclass with its shape, format, range and arithmetic."""

from inspect import isabstract, isclass

from hwsim.ops.accumulate import EXACT, Accumulator, Balanced, Exact, Float32, Stepwise
from hwsim.ops.base import Carrier, Op, Quant, TensorType, Work
from hwsim.ops.cast import Cast
from hwsim.ops.chosen_thresholds import ChosenThresholds
from hwsim.ops.conv import CONVOLUTIONS, Conv, Conv1D, Conv2D
from hwsim.ops.dense import Dense
from hwsim.ops.elementwise import Relu, Table
from hwsim.ops.encodings import Codebook, Encoding, PowersOfTwo
from hwsim.ops.literal import Literal
from hwsim.ops.matmul import MatMul
from hwsim.ops.pad import Pad
from hwsim.ops.pairs import Add, Maximum, Minimum, Mul, Sub
from hwsim.ops.pool import AvgPool, MaxPool
from hwsim.ops.quotient import Quotient
from hwsim.ops.reduce import Reduce, Reduction
from hwsim.ops.requantize import Requantize, Scheme
from hwsim.ops.rsqrt import Rsqrt
from hwsim.ops.scale import BatchNorm, Divide
from hwsim.ops.scaled_add import ScaledAdd
from hwsim.ops.select import Select
from hwsim.ops.shape import ArgMax, Concat, Flatten, Reshape, Split, Transpose
from hwsim.ops.share import Division, Share
from hwsim.ops.tables import ChannelTable, PairTable
from hwsim.ops.thresholds import Thresholds
from hwsim.ops.weighted import Weighted
from hwsim.ops.window import Window

__all__ = [
    "CONVOLUTIONS",
    "EXACT",
    "OPERATORS",
    "Accumulator",
    "Add",
    "ArgMax",
    "AvgPool",
    "Balanced",
    "BatchNorm",
    "Carrier",
    "Cast",
    "ChannelTable",
    "ChosenThresholds",
    "Codebook",
    "Concat",
    "Conv",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Divide",
    "Division",
    "Encoding",
    "Exact",
    "Flatten",
    "Float32",
    "Literal",
    "MatMul",
    "MaxPool",
    "Maximum",
    "Minimum",
    "Mul",
    "Op",
    "Pad",
    "PairTable",
    "PowersOfTwo",
    "Quant",
    "Quotient",
    "Reduce",
    "Reduction",
    "Relu",
    "Requantize",
    "Reshape",
    "Rsqrt",
    "ScaledAdd",
    "Scheme",
    "Select",
    "Share",
    "Split",
    "Stepwise",
    "Sub",
    "Table",
    "TensorType",
    "Thresholds",
    "Transpose",
    "Weighted",
    "Window",
    "Work",
]

OPERATORS: dict[str, type[Op]] = {
    kind.kind: kind
    for kind in map(globals().__getitem__, [name for name in __all__ if name != "OPERATORS"])
    if isclass(kind) and issubclass(kind, Op) and not isabstract(kind)
}
"""Every operator of the public list, by its kind."""
