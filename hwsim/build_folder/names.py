"""The files of a build folder that have one name in all of them."""

from __future__ import annotations

MANIFEST = "manifest.json"  # all that is needed to drive the design
BUILD = "build.json"  # what was asked for, planned and reached
VERIFY = "verify.json"  # what the last `hwsim verify` found
MODEL = "model.hwsim"  # the Graph that was built
README = "README.md"
REPORT = "report.html"
READABLE = "readable"  # the folder of the Verilog with the names of nodes and edges
LOGS = "logs"  # the folder for what the tools say
WAVES = "verify.vcd"  # the waveform that was asked for
MISMATCH_WAVES = "mismatch.vcd"  # the waveform of a difference
