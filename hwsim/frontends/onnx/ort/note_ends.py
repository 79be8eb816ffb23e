"""Warnings of reals at the model's end that the runtime computes otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.float_steps import PortStep, RowStep, UnaryStep
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.onnx.ort.moves import note_turned
from hwsim.frontends.onnx.ort.note_sums import (
    exact_in_floats,
    maker_of,
    node_of,
    note_first,
    note_product,
)
from hwsim.frontends.onnx.ort.wording import ALPHA_BITS, EXPONENTIAL_BITS, LAST_BITS
from hwsim.frontends.shared.values import (
    Joined,
    Level,
    Mean,
    Pair,
    Product,
    Real,
    Scaled,
    Total,
    Unary,
    Weighing,
)


def note_reals(run: Importer, real: Real) -> None:
    """Warn where the reals of a tensor that nothing quantizes may differ."""
    source = real.source
    if isinstance(source, Joined):
        for part in source.parts:
            note_reals(run, part)
        if _is_rescaled(run, source):
            run.note(source.name, LAST_BITS)
    if isinstance(source, Product | Weighing):
        note_turned(run, source.name, source.tensor)
    if isinstance(source, Product):
        note_product(run, source, None)
    if isinstance(source, Scaled | Total | Mean | Pair):
        run.note(source.name, LAST_BITS)
    if isinstance(source, Level) and source.fine:
        run.note(maker_of(run, source), LAST_BITS)
    if not isinstance(source, Weighing):
        return
    note_first(run, source)
    if source.op.weight_scale is not None:
        shown = np.float32(source.input.scale) * np.array(source.op.weight_scale, np.float32)
        if not np.array_equal(shown, source.scale):  # after a Gemm's alpha
            run.note(source.name, ALPHA_BITS)
    if (
        run.choice(source.tensor).kernel is not RuntimeKernel.BLOCKS
        and not source.exact
        and not exact_in_floats(run, source, None)
    ):
        run.note(source.name, LAST_BITS)


def _is_rescaled(run: Importer, source: Joined) -> bool:
    """Whether the parts of what is joined were brought to a unit that is none of theirs."""
    level = run.levels.get(source)
    parts = [run.levels.get(part.source, part.source) for part in source.parts]
    return level is not None and any(
        not isinstance(part, Level) or part.scale != level.scale for part in parts
    )


def note_functions(run: Importer, real: Real) -> None:
    """Warn of functions at the end of the model whose reals differ in their last bits."""
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if any(step.rough for step in functions):
        run.note(node_of(functions), EXPONENTIAL_BITS)


def note_steps(run: Importer, output: str, steps: Sequence[PortStep]) -> None:
    """Warn of functions that an output's port computes, and otherwise than the runtime."""
    runtime = run.runtime
    computes = any(isinstance(step, UnaryStep | RowStep) for step in steps)
    if computes and runtime is not None and not runtime.at_ports:
        run.note(output, EXPONENTIAL_BITS)
