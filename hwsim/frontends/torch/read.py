"""Exported programs, from a `.pt2` file or in memory, with the integers of a runtime."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.float_steps import PortStep
from hwsim.frontends.shared.ends import at_the_end, float_steps
from hwsim.frontends.shared.settling import settle, tabled
from hwsim.frontends.shared.tensors import with_views
from hwsim.frontends.shared.values import (
    Codes,
    Joined,
    Mean,
    Product,
    Real,
    Scaled,
    Total,
    Unary,
    Weighing,
)
from hwsim.frontends.torch.handlers import HANDLERS
from hwsim.frontends.torch.importer import Executor, ProgramImporter
from hwsim.frontends.torch.program import (
    FIXED_SCALES,
    QUANTIZE_PT2E,
    ExportedGraph,
    ProgramNode,
)
from hwsim.frontends.torch.pt2 import read_program
from hwsim.frontends.unread import NO_RULE, WRITTEN_OUT, ListedOperator
from hwsim.graph import Graph, OutputPort

LIKE = tuple(known.value for known in Executor)
QUANTIZED = "quantized_decomposed."
ADVICE = (
    ("quantized_decomposed.choose_qparams", FIXED_SCALES),
    ("higher_order.", WRITTEN_OUT),
)
"""What helps where an operator whose name begins so is in the way."""


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of a `.pt2` file; `like` names the runtime, `executorch` where it is left out."""
    return graph_of(read_program(path, str(path)), _runtime(like))


def read_object(model: Any, like: str | None = None) -> Graph:
    """The Graph of a `torch.export.ExportedProgram`."""
    import torch

    held = BytesIO()
    torch.export.save(model, held)
    return graph_of(read_program(held, "the exported program"), _runtime(like))


def _runtime(like: str | None) -> Executor:
    try:
        return Executor.EXECUTORCH if like is None else Executor(like)
    except ValueError:
        raise HwsimError(
            f"what an exported program is to be like must be one of {', '.join(LIKE)}, not {like!r}"
        ) from None


def graph_of(program: ExportedGraph, executor: Executor) -> Graph:
    """The Graph of a program as a runtime computes it."""
    _check_operators(program)
    return with_views(lambda views, grids: _read(ProgramImporter(program, executor, views, grids)))


def _read(run: ProgramImporter) -> Graph:
    try:
        run.divide()
        run.read_inputs()
        for node in run.program.nodes:
            _read_node(run, node)
        outputs = [_output(run, name) for name in run.program.outputs]
        return run.graph(outputs, inputs=run.program.inputs)
    except HwsimError as error:
        text = str(error)
        raise HwsimError(text if text.startswith(run.place) else run.place + text) from None


def _read_node(run: ProgramImporter, node: ProgramNode) -> None:
    try:
        HANDLERS[node.op](run, node)
    except HwsimError as error:
        text = str(error)
        named = text.startswith((f"{node}:", "node ", run.place))
        raise HwsimError(text if named else f"{node}: {text}") from None
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        # Whatever NumPy says to values that no handler thought of.
        raise HwsimError(f"{node}: it must be valid ({error})") from None


LAST_BITS = "its float32 results may have other last bits in the runtime ({why})"


def _rough(real: Real) -> Iterator[str]:
    """What computes float32 numbers in a way of the runtime's own, by name."""
    yield from (step.name for step in real.steps if isinstance(step, Unary) and step.rough)
    if isinstance(real.source, Joined):
        for part in real.source.parts:
            yield from _rough(part)
    elif isinstance(real.source, Weighing | Mean | Product | Scaled | Total):
        yield real.source.name


def _output(run: ProgramImporter, name: str) -> OutputPort:
    value = run.values.get(name)
    reals: tuple[float, ...] | None = None
    steps: tuple[PortStep, ...] = ()
    try:
        if isinstance(value, Real):
            found = sorted(set(_rough(value)))
            if found:
                run.warn(name, LAST_BITS.format(why=", ".join(found)))
            value, rows = at_the_end(value)
            value, steps = float_steps(value)
            if not steps:
                value, reals = tabled(value)
            steps = (*steps, *rows)
            codes, element = settle(run, value, name), None
        elif isinstance(value, Codes):
            width = max(8, value.format.width)
            codes, element = value, f"{'int' if value.format.signed else 'uint'}{width}"
        else:
            raise HwsimError("it must be computed from the inputs by quantized operators")
        return run.output(name, codes, element=element, reals=reals, steps=steps)
    except HwsimError as error:
        raise HwsimError(f"output {name!r}: {error}") from None


def _check_operators(program: ExportedGraph) -> None:
    """Raise HwsimError that lists all operators which are not read, or if nothing is quantized."""
    if not any(node.op.startswith(QUANTIZED) for node in program.nodes):
        raise HwsimError(f"{program.place} must be quantized: {QUANTIZE_PT2E}; or hwsim.quantize")
    missing: dict[str, list[str]] = {}
    for node in program.nodes:
        if node.op not in HANDLERS:
            missing.setdefault(node.op, []).append(node.name)
    if missing:
        listed = ", ".join(f"{op} ({', '.join(names)})" for op, names in sorted(missing.items()))
        found = {advice: None for op in missing for start, advice in ADVICE if op.startswith(start)}
        helps = f"; what helps: {'; '.join(found)}" if found else ""
        raise HwsimError(
            f"{program.place} must use supported operators only, but has {listed}{helps}; "
            "docs/pytorch.md lists what is supported"
        )


def outline(path: Path) -> Iterator[ListedOperator]:
    """The operators of a program, and which of them are not read."""
    for node in read_program(path, str(path)).nodes:
        why = None if node.op in HANDLERS else NO_RULE
        yield ListedOperator(node.name, node.op, why)
