"""hwsim: from a quantized neural network to the same integers in NumPy, on a GPU and in an FPGA."""

from hwsim.compress.attribution.report import Attribution
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.emulator.run import emulate, step, trace
from hwsim.errors import HwsimError
from hwsim.evaluation.scores import Accuracy
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends import load
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.losses.report import Hazards
from hwsim.losses.suggestion import Suggestion
from hwsim.recipe.call import run_recipe
from hwsim.reporting.notebook import graph_html
from hwsim.reporting.tradeoff import Plans
from hwsim.saturation import InputSaturation
from hwsim.state import State
from hwsim.verbs import (
    accuracy,
    attribute,
    build,
    distil,
    encode,
    explore,
    finetune,
    hazards,
    plan,
    prune,
    quantize,
    report,
    suggest,
    to_hls4ml,
    to_onnx,
)
from hwsim.verification import Verification, verify

__version__ = "0.1.0"

__all__ = [
    "Accuracy",
    "Attribution",
    "Format",
    "Graph",
    "Hazards",
    "HwsimError",
    "InputPort",
    "InputSaturation",
    "Node",
    "OutputPort",
    "Overflow",
    "Plans",
    "QuantizedModel",
    "Rounding",
    "State",
    "Suggestion",
    "Verification",
    "__version__",
    "accuracy",
    "attribute",
    "build",
    "distil",
    "emulate",
    "encode",
    "explore",
    "finetune",
    "hazards",
    "load",
    "plan",
    "prune",
    "quantize",
    "report",
    "run_recipe",
    "step",
    "suggest",
    "to_hls4ml",
    "to_onnx",
    "trace",
    "verify",
]

Graph.drawn_by(graph_html)
