"""The tools that published models were made for, as oracles: what each gives for some inputs."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from support.hls4ml_models import csim
from support.onnx_run import run_ort

import hwsim
from hwsim.fixed import Rounding
from hwsim.frontends.onnx.qonnx import QUANTIZERS
from hwsim.graph import Graph, InputPort, Node, OutputPort, user_shape
from hwsim.ops import Flatten

Arrays = Mapping[str, Any]
FLOAT_ENDS = ("Softmax", "LogSoftmax")  # the last bits of an exponential are no integers
BIPOLAR = (-1, 1)  # of an input that is annotated so: the executor takes these two numbers alone
LIMIT = 1200.0  # seconds
MOST_NUMBERS = 1 << 20  # of all inputs together, but two inputs at least
HLS4ML = {"Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1}}


class OracleError(Exception):
    """The tool that a model was made for does not run it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model as a Graph, and the function of its inputs that the oracle computes."""

    graph: Graph
    oracle: str
    run: Callable[[Arrays], Arrays]


def open_model(files: Sequence[Path], scratch: Path, configuration: Path | None = None) -> Opened:
    """The Graph and the oracle of an ONNX file, a whole Keras model, or a network and its weights.

    `configuration` is a file of hls4ml's, of which its section HLSConfig, the io type and the
    backend count. HwsimError where it is no model, or none for hwsim or for hls4ml's converter.
    """
    given = _configured(configuration)
    if len(files) > 1:
        return _keras({"KerasJson": str(files[0]), "KerasH5": str(files[1])}, given, scratch)
    (path,) = files
    if path.suffix == ".h5":
        return _keras({"KerasH5": str(path)}, given, scratch)
    if path.suffix != ".onnx":
        return Opened(hwsim.load(path), "nothing", dict)  # which says why it cannot
    try:
        nodes = onnx.load(path).graph.node
    except Exception as error:  # of any bytes
        raise hwsim.HwsimError(f"{path.name} must be an ONNX model ({_said(error)})") from None
    if any((node.domain, node.op_type) in QUANTIZERS for node in nodes):
        return _qonnx(path, scratch)
    if any("Linear" in node.op_type for node in nodes):
        return Opened(hwsim.load(path), "ONNX Runtime 1.32", lambda x: run_ort(path, x).outputs)
    return _float_onnx(path, given, scratch)


def _configured(path: Path | None) -> dict[str, Any]:
    """What hls4ml is told: by a file, or by nobody."""
    import yaml

    given = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
    named = given.get("Backend")
    return {
        "HLSConfig": given.get("HLSConfig"),
        "IOType": given.get("IOType", "io_parallel"),
        "Backend": named if named in ("Vivado", "Vitis") else "Vitis",
    }


def compared(model: Opened, count: int, seed: int) -> dict[str, Any]:
    """How many codes of all outputs there are, and how many are others.

    OracleError where the tool does not run.
    """
    most = max(port.type.size for port in model.graph.inputs)
    count = min(count, max(2, MOST_NUMBERS // most))
    x = {port.name: inputs(port, count, seed + k) for k, port in enumerate(model.graph.inputs)}
    try:
        theirs = model.run(x)
    except OracleError as error:
        raise OracleError(f"{model.oracle}: {error}") from None
    except Exception as error:  # whatever it meets
        raise OracleError(f"{model.oracle} ends with {_said(error)}") from error
    got = hwsim.emulate(model.graph, x)
    ours = got if isinstance(got, dict) else {model.graph.outputs[0].name: got}
    pairs = list(zip(ours.values(), theirs.values(), strict=True))
    return {
        "inputs": count,
        "codes": sum(int(a.size) for a, _ in pairs),
        "different": sum(other_codes(np.asarray(a), np.asarray(b)) for a, b in pairs),
        "reals_with_other_last_bits": sum(
            int((np.asarray(a).ravel() != np.asarray(b).ravel()).sum()) for a, b in pairs
        ),
    }


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def other_codes(ours: Any, theirs: Any) -> int:
    """Of values that stand for codes: how many are nearer to another code's value."""
    ours, theirs = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    values = np.unique(ours)
    if len(values) == 1:
        return int((ours != theirs).sum())
    above = np.clip(np.searchsorted(values, theirs), 1, len(values) - 1)
    nearer = above - (theirs - values[above - 1] < values[above] - theirs)
    return int((values[nearer] != ours).sum())


def inputs(port: InputPort, count: int, seed: int) -> Any:
    """Reals on and off the grid, over the range of the codes and a little beyond; or codes."""
    rng, shape = np.random.default_rng(seed), user_shape(port.type, port)
    if port.element is not None:
        kind = np.dtype(port.element)
        return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (count, *shape)).astype(
            kind
        )
    if port.type.range == BIPOLAR:
        return rng.choice(np.float32(BIPOLAR), (count, *shape))
    best, most = None, -1
    probe = rng.uniform(-1, 1, (64, *shape)).astype(np.float32)
    for power in range(-8, 10):
        for signed in (True, False):
            kinds = _kinds(port, (probe if signed else np.abs(probe)) * 2.0**power)
            if kinds > most:
                best, most = (signed, power), kinds
    assert best is not None
    signed, power = best
    made = rng.uniform(-1 if signed else 0, 1, (count, *shape)) * 2.0**power
    if _kinds(port, (beyond := made * 1.1)[:64]) >= 0:
        made = beyond
    if port.rounding is Rounding.TRN_ZERO and port.type.format.frac_bits == 0:
        return np.rint(made).astype(np.float32)  # hls4ml's whole types are given whole numbers
    half = count // 2
    made[:half] = np.rint(made[:half] * 256 / 2.0**power) * 2.0**power / 256
    return made.astype(np.float32)


def _kinds(port: InputPort, x: Any) -> int:
    """How many values reals become at the port; 0 where most saturate, -1 where it takes none."""
    node = Node("all", Flatten(), (port.tensor,), "y")
    graph = Graph((port,), (node,), (OutputPort(name="y", tensor="y"),))
    try:
        entered = np.asarray(hwsim.emulate(graph, {port.name: x.astype(np.float32)}))
    except hwsim.HwsimError:  # outside of the range that the model proves
        return -1
    ends = (entered == entered.min()) | (entered == entered.max())
    return len(np.unique(entered)) if ends.mean() < 0.6 else 0


# QONNX ---------------------------------------------------------------------------------------


def _qonnx(path: Path, scratch: Path) -> Opened:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    proto = _without_float_end(onnx.load(path))
    cut = scratch / path.name
    onnx.save(proto, cut)

    def run(x: Arrays) -> Arrays:
        wrapped = ModelWrapper(str(cut))
        if not wrapped.check_all_tensor_shapes_specified():  # takes minutes where maps are large
            wrapped = cleanup_model(wrapped)
        _executable(wrapped.model)
        given = [port.name for port in wrapped.graph.input]
        rows = [
            execute_onnx(wrapped, {name: row[None] for name, row in zip(given, each, strict=True)})
            for each in zip(*x.values(), strict=True)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    hwsim.load(path)  # the whole file has to load, too
    return Opened(hwsim.load(cut), "QONNX 1.0", run)


def _executable(model: onnx.ModelProto) -> None:
    """Take what says nothing from pools with the channels last.

    The executor runs them by the first opset, whatever the model's, which knows no such attributes.
    """
    for node in model.graph.node:
        if node.domain == "qonnx.custom_op.channels_last" and node.op_type == "MaxPool":
            for each in list(node.attribute):
                plain = set(each.ints) == {1} if each.name == "dilations" else each.i == 0
                if each.name in ("ceil_mode", "storage_order", "dilations") and plain:
                    node.attribute.remove(each)


def _without_float_end(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model up to what a last float step is a function of."""
    makers = {node.output[0]: node for node in model.graph.node}
    for port in model.graph.output:
        last = makers[port.name]
        if last.op_type in FLOAT_ENDS:
            model.graph.node.remove(last)
            port.name = last.input[0]
            described = [info for info in model.graph.value_info if info.name == port.name]
            for info in described:  # an output now, which is said once
                model.graph.value_info.remove(info)
    return model


# hls4ml --------------------------------------------------------------------------------------


def _float_onnx(path: Path, given: dict[str, Any], scratch: Path) -> Opened:
    from hls4ml.converters import convert_from_onnx_model
    from hls4ml.utils import config_from_onnx_model
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    def make(backend: str) -> Any:
        model = cleanup_model(ModelWrapper(str(path)), override_inpsize=1)  # some have a batch
        model = model.transform(ConvertToChannelsLastAndClean()).transform(GemmToMatMul())
        model = cleanup_model(model)
        config = deepcopy(given["HLSConfig"]) or config_from_onnx_model(
            model, granularity="name", backend=backend
        )
        return convert_from_onnx_model(
            model,
            hls_config=config,
            backend=backend,
            io_type=given["IOType"],
            output_dir=str(scratch / backend),
        )

    return _hls4ml(make, given)


def _keras(files: dict[str, str], given: dict[str, Any], scratch: Path) -> Opened:
    from hls4ml.converters.keras_v2_to_hls import keras_v2_to_hls

    def make(backend: str) -> Any:
        return keras_v2_to_hls(
            {
                **files,
                "OutputDir": str(scratch / backend),
                "ProjectName": "myproject",
                "Backend": backend,
                "IOType": given["IOType"],
                "HLSConfig": deepcopy(given["HLSConfig"] or HLS4ML),  # which passes write into
            }
        )

    return _hls4ml(make, given)


def _hls4ml(make: Callable[[str], Any], given: dict[str, Any]) -> Opened:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        theirs = _by_hls4ml(make, given["Backend"])
        ours = make("hwsim")
    graph = hwsim.load(ours)

    # hls4ml 1.3 asks NumPy for it when it writes exponents; NumPy 2 has it no more.
    vars(np).setdefault("product", np.prod)

    def run(x: Arrays) -> Arrays:
        arrays = [np.ascontiguousarray(a, dtype=np.float32) for a in x.values()]
        return apart(lambda: csim(theirs, arrays[0] if len(arrays) == 1 else arrays))

    return Opened(graph, "hls4ml 1.3, csim", run)


def apart(work: Callable[[], Arrays]) -> Arrays:
    """The result of C++ in a process of its own, which an assertion of it may end, or `LIMIT`."""
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)

    def child() -> None:
        os.setsid()  # a compiler is to end with it
        try:
            sender.send(work())
        except Exception as error:  # a compiler's, say
            sender.send(_said(error))

    process = processes.Process(target=child)
    process.start()
    sender.close()
    try:
        if not receiver.poll(LIMIT):
            os.killpg(process.pid, signal.SIGKILL)
            raise OracleError(f"its C++ is not compiled and run within {LIMIT / 60:.0f} minutes")
        found = receiver.recv()
    except EOFError:
        raise OracleError("its C++ ends the process") from None
    finally:
        process.join()
    if isinstance(found, str):
        raise OracleError(found)
    return cast(Arrays, found)


def _by_hls4ml(make: Callable[[str], Any], backend: str) -> Any:
    """The model for Vitis or Vivado; HwsimError where hls4ml's own converter does not take it."""
    try:
        return make(backend)
    except Exception as error:  # whatever it meets
        raise hwsim.HwsimError(f"hls4ml's own converter ends with {_said(error)}") from None
