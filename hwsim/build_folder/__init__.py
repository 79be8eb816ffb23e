"""The one schema of a build folder: names of its files, what they hold, written, read and checked.

Nothing here needs Amaranth or a Graph: whoever has the folder can read it.
"""

from __future__ import annotations

from hwsim.build_folder.entries import plain, read_json, write_json
from hwsim.build_folder.facts import BuildFacts, Implemented, PlanRow, RowOutput, SlowestNode
from hwsim.build_folder.manifest import Cycles, Hashes, Manifest, RealStep, StreamPort
from hwsim.build_folder.names import (
    BUILD,
    LOGS,
    MANIFEST,
    MISMATCH_WAVES,
    MODEL,
    READABLE,
    README,
    REPORT,
    VERIFY,
    WAVES,
)

__all__ = [
    "BUILD",
    "LOGS",
    "MANIFEST",
    "MISMATCH_WAVES",
    "MODEL",
    "READABLE",
    "README",
    "REPORT",
    "VERIFY",
    "WAVES",
    "BuildFacts",
    "Cycles",
    "Hashes",
    "Implemented",
    "Manifest",
    "PlanRow",
    "RealStep",
    "RowOutput",
    "SlowestNode",
    "StreamPort",
    "plain",
    "read_json",
    "write_json",
]
