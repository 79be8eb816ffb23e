"""What was written is run by an executor of ONNX, and must give the Graph's own integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.emulator import ports
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.onnx_export.onnx_draft import CODES, NEXT, OnnxDraft

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
        flat = codes.reshape(-1, *kind.shape)
        if not (integers or port.element):
            flat = ports.dequantize(np, kind, flat).astype(np.float32)
        seen = ports.to_user(np, port, kind, flat)  # type: ignore[arg-type]
        found[port.name] = seen.reshape(count, *time, *seen.shape[1:])
    return found


def check(
    graph: Graph, draft: OnnxDraft, model: Any, count: int, *, integers: bool
) -> dict[str, Any]:
    """Compare `count` samples; what ran, and how many numbers were equal. HwsimError where not.

    The executor is ONNX Runtime where it is installed, else ONNX's own reference evaluator. Where
    an output goes through float32 arithmetic of its own, its codes are compared.
    """
    x = drawn(graph, count, integers=integers)
    kept = {port.name for port in graph.outputs if port.steps and not integers}
    by, run = executor(_with_codes(draft, model, kept))
    theirs = _through_time(graph, draft, run, x) if graph.state else run(_named(draft, x))
    emulator = planned(graph)
    edges = emulator.run(emulator.encode(x, codes=integers))
    compared = 0
    for codes in (False, True):
        ours = emulator.decode(edges, as_codes=codes or integers)
        ours = ours if isinstance(ours, dict) else {graph.outputs[0].name: ours}
        for name in [port.name for port in graph.outputs if (port.name in kept) is codes]:
            got = theirs[CODES + name if codes else draft.shown[name]]
            wrong = int(np.count_nonzero(got != ours[name]))
            compared += got.size
            if wrong:
                raise HwsimError(
                    f"output {name!r} must be the same in {by}, not another in {wrong} of "
                    f"{got.size} numbers of random samples",
                    exit_status=1,
                )
    return {"by": by, "samples": count, "compared": compared}


def _with_codes(draft: OnnxDraft, model: Any, names: set[str]) -> Any:
    """The model with the codes of some outputs besides, as they are ahead of float32 steps."""
    if not names:
        return model
    import onnx
    from onnx import TensorProto, helper

    more = onnx.ModelProto()
    more.CopyFrom(model)
    for name in sorted(names):
        node = helper.make_node("Identity", [draft.codes[name]], [CODES + name])
        more.graph.node.append(node)
        more.graph.output.append(
            helper.make_tensor_value_info(CODES + name, TensorProto.INT64, None)
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

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    version = f"ONNX Runtime {onnxruntime.__version__}"
    return version, lambda x: dict(zip(names, session.run(names, dict(x)), strict=True))
