"""What was written is run by an executor of ONNX, and must give the Graph's own integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.emulator import ports
from hwsim.emulator.run import emulate, planned
from hwsim.errors import HwsimError
from hwsim.frontends import load
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.graph import Graph
from hwsim.onnx_export.onnx_draft import BEFORE, NEXT, OnnxDraft

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], dict[str, npt.NDArray[Any]]]

STEPS = 3
"""Of time, where there is state."""


def drawn(graph: Graph, count: int, *, integers: bool) -> dict[str, npt.NDArray[Any]]:
    """Samples by input name: the smallest codes, the largest, the rest at random."""
    rng = np.random.default_rng(0)
    time = (STEPS,) if graph.state else ()
    found = {}
    for port in graph.inputs:
        kind = port.type
        codes = rng.integers(kind.lo, kind.hi + 1, (count, *time, *kind.shape))
        codes[0] = kind.lo
        codes[1:2] = kind.hi
        flat: npt.NDArray[Any] = codes.reshape(-1, *kind.shape)
        if not (integers or port.element):
            flat = _nearer_zero(ports.dequantize(np, kind, flat))
        seen = ports.to_user(np, port, kind, flat)  # type: ignore[arg-type]
        found[port.name] = seen.reshape(count, *time, *seen.shape[1:])
    return found


def _nearer_zero(reals: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Reals in float32, none of them larger than it was."""
    held = reals.astype(np.float32)
    return np.where(np.abs(held) > np.abs(reals), np.nextafter(held, np.float32(0)), held)


def check(
    graph: Graph, draft: OnnxDraft, model: Any, count: int, form: str, *, integers: bool
) -> dict[str, Any]:
    """Compare `count` samples; what ran, and how many numbers were equal. HwsimError where not.

    Plain operators are run by ONNX Runtime where it is installed, else by ONNX's own reference
    evaluator; of an output that goes through float32 arithmetic the reals ahead of it are compared.
    Files with quantizers are run by their own executor where it is installed, and read again unless
    there is state, which a reader of ONNX does not know.
    """
    x = drawn(graph, count, integers=integers)
    emulator = planned(graph)
    edges = emulator.run(emulator.encode(x, codes=integers))
    ours = emulator.decode(edges, as_codes=integers)
    compared, ran = 0, []
    for by, run, steps in _runs(draft, model, form, timed=bool(graph.state)):
        ran.append(by)
        theirs = _through_time(graph, draft, run, x) if graph.state else run(_named(draft, x))
        for port in graph.outputs:
            before = port.name in draft.before and steps is FloatEnd.BEFORE
            if port.name in draft.before and steps is FloatEnd.LEFT_OUT:
                continue
            want = ours[port.name] if isinstance(ours, dict) else ours
            if before:
                kind = graph.types()[port.tensor]
                plain = replace(port, steps=())
                want = ports.decode(np, plain, kind, edges[port.tensor], False).astype(np.float32)
            got = theirs[BEFORE + port.name if before else draft.shown[port.name]]
            wrong = int(np.count_nonzero(got != want))
            compared += got.size
            if wrong:
                raise HwsimError(
                    f"output {port.name!r} must be the same in {by}, not another in {wrong} of "
                    f"{got.size} numbers of random samples",
                    exit_status=1,
                )
    return {"by": ran, "samples": count, "compared": compared, "unread": draft.unread}


class FloatEnd(Enum):
    """What is compared of an output that goes through float32 arithmetic of its own."""

    BEFORE = "before"  # the reals ahead of it
    LEFT_OUT = "left out"
    REALS = "reals"  # as of any other


def _runs(
    draft: OnnxDraft, model: Any, form: str, *, timed: bool
) -> Iterator[tuple[str, Run, FloatEnd]]:
    """What runs a file of a form, by its name."""
    if form == "integer" or draft.notes:
        yield *executor(_with_reals(draft, model)), FloatEnd.BEFORE
        return
    if form == "qdq" and find_spec("onnxruntime") is not None:
        yield *executor(model), FloatEnd.LEFT_OUT
    if form == "qonnx" and find_spec("qonnx") is not None:
        yield "QONNX's executor", by_qonnx(model), FloatEnd.LEFT_OUT
    run = None if timed else _read_again(draft, model)
    if run is not None:
        yield "hwsim, read again", run, FloatEnd.REALS


def _read_again(draft: OnnxDraft, model: Any) -> Run | None:
    """What hwsim's own reader makes of the file; None, with a note, where it does not read it.

    Raises HwsimError where the reader warns that the runtime's own rounding decides somewhere.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeDifference)
            again = load(model)
    except RuntimeDifference as warning:
        raise HwsimError(
            f"a runtime must give the Graph's codes, and not others in rare cases: {warning}",
            exit_status=1,
        ) from None
    except HwsimError as error:
        draft.unread = str(error)
        return None

    def run(x: Arrays) -> dict[str, npt.NDArray[Any]]:
        made = emulate(again, x)
        return made if isinstance(made, dict) else {again.outputs[0].name: made}

    return run


def _with_reals(draft: OnnxDraft, model: Any) -> Any:
    """The model with the reals of some outputs besides, as they are ahead of float32 steps."""
    if not draft.before:
        return model
    import onnx
    from onnx import TensorProto, helper

    more = onnx.ModelProto()
    more.CopyFrom(model)
    for name, real in draft.before.items():
        node = helper.make_node("Identity", [real], [BEFORE + name])
        more.graph.node.append(node)
        more.graph.output.append(
            helper.make_tensor_value_info(BEFORE + name, TensorProto.FLOAT, None)
        )
    return more


def _named(draft: OnnxDraft, x: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Arrays by the names and of the types that the file's inputs have."""
    kinds = {name: kind for name, kind, _ in draft.inputs}
    return {draft.read[name]: a.astype(kinds[draft.read[name]]) for name, a in x.items()}


def _through_time(graph: Graph, draft: OnnxDraft, run: Run, x: Arrays) -> dict[str, Any]:
    """What each time step gives, of the states that the one before it left."""
    count, outputs = len(next(iter(x.values()))), list[dict[str, npt.NDArray[Any]]]()
    held = {s.name: np.repeat(s.first()[None], count, axis=0) for s in graph.state}
    for step in range(STEPS):
        now = {name: array[:, step] for name, array in x.items()} | held
        outputs.append(run(_named(draft, now)))
        held = {s.name: outputs[-1][draft.shown[s.name + NEXT]] for s in graph.state}
    return {name: np.stack([made[name] for made in outputs], axis=1) for name in outputs[0]}


def executor(model: Any) -> tuple[str, Run]:
    """What runs a model, by its name, and how."""
    names = [port.name for port in model.graph.output]
    if find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(model)
        return "onnx's reference evaluator", lambda x: dict(
            zip(names, evaluator.run(None, dict(x)), strict=True)
        )
    import onnxruntime

    def session(precise: str) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        # Without it kernels of some processors saturate sums of two products at 16 bits.
        options.add_session_config_entry("session.x64quantprecision", precise)
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    try:
        made = session("1")
    except Exception:  # its optimizer fails on some models only then; its classes have no base
        made = None
    try:
        made = made or session("0")
    except Exception as error:
        raise HwsimError(
            f"ONNX Runtime must load what was written, and fails ({' '.join(str(error).split())})",
            exit_status=1,
        ) from None
    version = f"ONNX Runtime {onnxruntime.__version__}"
    return version, lambda x: dict(zip(names, made.run(names, dict(x)), strict=True))


def by_qonnx(model: Any) -> Run:
    """QONNX's own executor, sample by sample, since its graphs have a batch of 1."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    wrapped = cleanup_model(ModelWrapper(model))  # which gives the ports names of its own
    ways = (wrapped.graph.input, model.graph.input), (wrapped.graph.output, model.graph.output)
    theirs, ours = ({a.name: b.name for a, b in zip(*pair, strict=True)} for pair in ways)

    def run(x: Arrays) -> dict[str, npt.NDArray[Any]]:
        count = len(next(iter(x.values())))
        try:
            made = [
                execute_onnx(wrapped, {a: x[b][k : k + 1] for a, b in theirs.items()})
                for k in range(count)
            ]
        except Exception as error:  # it raises bare ones
            raise HwsimError(
                f"QONNX's executor must run what was written, and fails ({error})", exit_status=1
            ) from None
        return {b: np.concatenate([row[a] for row in made]) for a, b in ours.items()}

    return run
