"""What the command line does, as functions: plans, builds, checks, accuracy and reports.

`import hwsim` loads none of the libraries that they need; each is imported when it is called.
"""

from hwsim.verbs.compression import attribute, encode, prune, quantize
from hwsim.verbs.designs import Built, build, plan, report
from hwsim.verbs.exports import explore, to_hls4ml, to_onnx
from hwsim.verbs.measuring import accuracy, hazards, suggest
from hwsim.verbs.training import distil, finetune

__all__ = [
    "Built",
    "accuracy",
    "attribute",
    "build",
    "distil",
    "encode",
    "explore",
    "finetune",
    "hazards",
    "plan",
    "prune",
    "quantize",
    "report",
    "suggest",
    "to_hls4ml",
    "to_onnx",
]
