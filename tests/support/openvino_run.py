"""Runs ONNX models in OpenVINO's CPU plugin, in float32 and on one thread, each in a process.

On some networks its compiler ends the process.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection

import numpy as np
import onnx

from support.onnx_builder import Array
from support.openvino_models import CPU
from support.qdq_outcomes import NoResultError


def run_openvino(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name; NoResultError where the process ended."""
    context = multiprocessing.get_context("fork")
    heard, told = context.Pipe(duplex=False)
    child = context.Process(target=_told, args=(told, model.SerializeToString(), dict(feeds)))
    child.start()
    told.close()
    try:
        made: dict[str, Array] = heard.recv()
    except EOFError:
        raise NoResultError("OpenVINO's process ended") from None
    finally:
        child.join()
    return {port.name: made[port.name] for port in model.graph.output}


def _told(told: Connection, model: bytes, feeds: dict[str, Array]) -> None:
    from openvino import Core

    core = Core()
    made = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", CPU)(feeds)
    told.send({name: np.asarray(value) for port, value in made.items() for name in port.names})
