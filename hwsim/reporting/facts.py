"""What there is to say about a Graph, as plain data: for `hwsim inspect` and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node, Port, user_shape
from hwsim.ops import (
    Balanced,
    Cast,
    ChosenThresholds,
    Conv,
    Dense,
    Divide,
    Float32,
    Quotient,
    Requantize,
    Rsqrt,
    ScaledAdd,
    Scheme,
    Share,
    Stepwise,
    TensorType,
    Thresholds,
    Weighted,
)
from hwsim.ports import axes_text
from hwsim.state import State


def describe(graph: Graph) -> dict[str, Any]:
    """Ports, a row for each node, totals, hash and the emulator's carriers, ready for JSON."""
    carriers, trouble = _carriers(graph)
    rows = [_row(graph, node, carriers.get(node.name)) for node in graph.nodes]
    summed = ("macs", "weights", "weight_bits", "activations")
    totals = {key: sum(row[key] for row in rows) for key in summed}
    totals["state_bits"] = sum(s.type.size * s.type.format.width for s in graph.state)
    return {
        "hash": graph.hash(),
        "inputs": [_port(p, p.type) | {"rounding": p.rounding.value} for p in graph.inputs],
        "outputs": [_port(p, graph.types()[p.tensor]) for p in graph.outputs],
        "state": [_state(s) for s in graph.state],
        "nodes": rows,
        "totals": {"nodes": len(rows), **totals},
        "emulator": {"exact": trouble is None, "trouble": trouble},
    }


def summary(node: Node) -> str:
    """The operator in a few words: `conv2d 3×3, 8 → 16`, `requantize f32_rne_out`."""
    match node.op:
        case Conv() as op:
            inputs = op.weights.shape[-2] * op.groups
            kind = "depthwise" if op.depthwise else op.kind
            stride = "" if set(op.window.stride) == {1} else f" /{op.window.stride[0]}"
            places = f"{kind} {shape_text(op.window.kernel)}{stride}, {inputs} → {op.outputs}"
            return places + _encoded(op)
        case Dense() as op:
            return f"dense {op.weights.shape[0]} → {op.outputs}" + _encoded(op)
        case Requantize() as op:
            return f"requantize {op.scheme.value}"
        case Cast(channels=tuple()) as op:
            return f"cast by channel, {len(op.formats)} formats"
    window = getattr(node.op, "window", None)
    kernel = "" if window is None else f" {shape_text(window.kernel)}"
    return node.op.kind.replace("_", " ") + kernel


def rounding_of(node: Node) -> str | None:
    """How a node rounds and brings into range, in words; None where it does neither.

    A scheme of requantizers by its name, with how many multipliers there are; a cast and an
    accumulator by the modes of HLS.
    """
    op = node.op
    acc = getattr(op, "accumulator", None)
    if isinstance(op, Requantize):
        count = len(op.multiplier)
        each = "one multiplier" if count == 1 else f"{count} multipliers, by channel"
        shift = f" {op.rounding.value}" if op.scheme is Scheme.SHIFT else ""
        return f"{op.scheme.value}{shift} {op.overflow.value}, {each}"
    if isinstance(op, Cast):
        return f"{op.rounding.value} {op.overflow.value}"
    if isinstance(acc, Stepwise | Balanced):
        way = "a tree" if isinstance(acc, Balanced) else "each step"
        return f"{acc.rounding.value} {acc.overflow.value} of {acc.format}, {way}"
    if isinstance(acc, Float32):
        return "float32, each step"
    if isinstance(op, Quotient):
        return f"{op.rounding.value} SAT of quotients"
    if isinstance(op, Share):
        return f"{op.division.value} SAT of shares"
    if isinstance(op, Divide):
        return "TRN_ZERO of quotients"
    if isinstance(op, ScaledAdd):
        return "float32 RND_CONV SAT" + ("" if op.divisor is None else ", each step")
    if isinstance(op, Thresholds | ChosenThresholds):
        rows, steps = op.values.shape
        each = "by code" if isinstance(op, ChosenThresholds) else "by channel"
        return f"{steps:,} thresholds" + (f", {each}" if rows > 1 else "")
    return "RND_CONV of float64" if isinstance(op, Rsqrt) else None


def shape_text(shape: tuple[int, ...] | list[int]) -> str:
    """`8×8×16`, or `scalar`."""
    return "×".join(str(size) for size in shape) or "scalar"


def made_text(row: Mapping[str, Any], *, key: str) -> str:
    """The shape or the format of what a node makes, of each output that differs."""
    text = shape_text if key == "shape" else str
    return ", ".join(dict.fromkeys(text(made[key]) for made in row.get("outputs", [row])))


def _carriers(graph: Graph) -> tuple[dict[str, str], str | None]:
    """The emulator's carrier by node, or why it has none that is exact."""
    try:
        return {step.node: step.carrier.value for step in planned(graph).plan}, None
    except HwsimError as error:
        return {}, str(error)


def _row(graph: Graph, node: Node, carrier: str | None) -> dict[str, Any]:
    work, made = node.op.work(graph.input_types(node)), graph.output_types(node)
    each = [{"name": e, **_tensor(t)} for e, t in zip(node.outputs, made, strict=True)]
    return {
        "name": node.name,
        "operator": node.op.kind,
        "summary": summary(node),
        "inputs": list(node.inputs),
        "output": node.outputs[0],
        **_tensor(made[0]),
        **({"outputs": each} if len(each) > 1 else {}),
        "macs": work.macs,
        "weights": work.weights,
        "weight_bits": _weight_bits(node, work.weights),
        "activations": work.activations,
        "carrier": carrier,
        "accumulator": _accumulator(graph, node),
        "rounding": rounding_of(node),
    }


def _weight_bits(node: Node, weights: int) -> int:
    """Bits of the weights of a sum of products; 0 for the operators that store none."""
    op = node.op
    return weights * op.total_bits // op.weights.size if isinstance(op, Weighted) else 0


def _encoded(op: Weighted) -> str:
    """How hardware stores the weights, or what they need, where that is not their format."""
    if op.channel_bits is not None:
        return f", {min(op.channel_bits)} to {max(op.channel_bits)} bits by channel"
    return "" if op.encoding is None else f", {op.encoding.bits}-bit {op.encoding.text}"


def _accumulator(graph: Graph, node: Node) -> dict[str, Any] | None:
    """A step-wise accumulator, and in how many output channels its steps make a difference."""
    op = node.op
    if not isinstance(op, Weighted) or not isinstance(op.accumulator, Stepwise):
        return None
    steps = op.steps(graph.input_types(node)[0])
    exact, stepped = int(steps.exact.sum()), int((~steps.any_order).sum())
    return {
        "format": str(op.accumulator.format),
        "rounding": op.accumulator.rounding.value,
        "overflow": op.accumulator.overflow.value,
        "order": "natural" if op.accumulator.order is None else "its own",
        "channels": {
            "exact": exact,
            "rounded": op.outputs - exact - stepped,
            "stepped": stepped,
            "overflow": int((~steps.fits).sum()),
        },
    }


def _port(port: Port, kind: TensorType) -> dict[str, Any]:
    """A port as its user sees it; `element` is its integer type, or `real`."""
    return {
        "name": port.name,
        "element": port.element or "real",
        "layout": axes_text(kind, port),
        "user_shape": list(user_shape(kind, port)),
        **({"steps": [str(step) for step in port.steps]} if port.steps else {}),
        **_tensor(kind),
    }


def _state(state: State) -> dict[str, Any]:
    """A state: the edges of a step and of the next, and the range of its initial codes."""
    codes = state.first()
    return {
        "name": state.name,
        "reads": state.tensor,
        "next": state.next,
        **_tensor(state.type),
        "initial": [int(codes.min()), int(codes.max())],
    }


def _tensor(kind: TensorType) -> dict[str, Any]:
    return {
        "shape": list(kind.shape),
        "format": str(kind.format),
        "bits": kind.format.width,
        "range": [kind.lo, kind.hi],
        "scale": list(kind.scales()),
        "zero_point": kind.zero_point,
    }


def rate_text(fps: float) -> str:
    """Frames per second: whole where there are many, four digits where there are few."""
    return f"{fps:,.0f}" if fps >= 1000 else f"{fps:.4g}"
