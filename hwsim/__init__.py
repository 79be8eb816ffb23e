"""hwsim: from a quantized neural network to the same integers in NumPy, on a GPU and in an FPGA."""

from hwsim.emulate import emulate, trace
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends import load
from hwsim.graph import Graph, InputPort, Layout, Node, OutputPort

__version__ = "0.1.0"

__all__ = [
    "Format",
    "Graph",
    "HwsimError",
    "InputPort",
    "Layout",
    "Node",
    "OutputPort",
    "Overflow",
    "Rounding",
    "__version__",
    "emulate",
    "load",
    "trace",
]
