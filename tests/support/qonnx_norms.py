"""Networks of one normalization or softmax between Quant nodes, drawn from a seed."""

from __future__ import annotations

from typing import Any

from support.qonnx_nets import Net

SHAPE = (40, 24)
KINDS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax")


def network(
    seed: int,
    kind: str,
    shape: tuple[int, int] = SHAPE,
    *,
    mode: str = "ROUND",
    epsilon: float = 1e-5,
) -> Any:
    """A model of one such node with quantizers before and behind it; scales and widths drawn."""
    n = Net(seed, opset=21)
    rng = n.rng
    bits, power = int(rng.integers(3, 9)), bool(rng.random() < 0.6)
    step = 2.0 ** -float(rng.integers(2, 6)) if power else float(rng.uniform(0.03, 0.3))
    x = n.start(*shape, scale=step, bits=bits)
    size = {"LayerNormalization": shape[-1]}.get(kind, shape[0])
    constants = [n.constant(rng.normal(1, 0.3, size)), n.constant(rng.normal(0, 0.3, size))]
    match kind:
        case "Softmax":
            y = n.do("Softmax", [x], axis=-1)
        case "GroupNormalization":
            y = n.do(kind, [x, *constants], num_groups=5, epsilon=epsilon)
            n.shapes[y] = (1, *shape)
        case _:
            y = n.do(kind, [x, *constants], epsilon=epsilon)
    out = 2.0 ** -float(rng.integers(5, 9)) if kind == "Softmax" else 2.0**-4
    signed = int(kind != "Softmax")
    odd = 1.0 if power else 1.07
    y = n.quant(y, out * odd, 8, signed=signed, narrow=signed & seed % 2, mode=mode)
    return n.model(y, *shape)
