"""hls4ml's layers on sequences and its tensor products: added to a Model, each gives its name."""

from __future__ import annotations

from typing import Any

from support.hls4ml_models import OVERFLOWS, ROUNDINGS, Model, precision

GATES = {"LSTM": 4, "GRU": 3}
Types = dict[str, str]


def types(model: Model, *names: str, least: int = 6, most: int = 18) -> Types:
    """Random precisions of the given names."""
    return {name: precision(model.rng, least=least, most=most) for name in names}


def gradual(model: Model, *names: str) -> Types:
    """Random precisions of 3 to 10 fraction bits, so that a state has more than a few values."""
    found = {}
    for name in names:
        whole, fraction = model.rng.randint(1, 7), model.rng.randint(3, 10)
        modes = f"{model.rng.choice(ROUNDINGS)},{model.rng.choice(OVERFLOWS)}"
        found[name] = f"fixed<{whole + fraction},{whole},{modes}>"
    return found


def _kernels(model: Model, kind: str, terms: int, units: int, prefix: str = "") -> dict[str, Any]:
    """Weights and biases of one direction."""
    outputs = GATES[kind] * units
    return {
        f"{prefix}weight_data": model.weights(terms, outputs),
        f"{prefix}recurrent_weight_data": model.weights(units, outputs) / 2,
        f"{prefix}bias_data": model.weights(outputs),
        f"{prefix}recurrent_bias_data": model.weights(outputs),
    }


def recurrent(
    model: Model,
    kind: str,
    source: str,
    units: int,
    types: Types,
    *,
    sequences: bool = False,
    options: dict[str, Any] | None = None,
    states: tuple[str, ...] = (),
    **fields: Any,
) -> str:
    """An LSTM or a GRU."""
    steps, terms = model.shapes[source]
    told: dict[str, Any] = {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "return_sequences": sequences,
        "return_state": False,
        "pass_initial_states": bool(states),
        **_kernels(model, kind, terms, units),
        **fields,
    }
    if kind == "GRU":
        told.setdefault("apply_reset_gate", "after")
    shape = (steps, units) if sequences else (units,)
    return model.add(
        kind,
        [source, *states],
        shape,
        types,
        options,
        n_timesteps=steps,
        n_in=terms,
        n_out=units,
        **told,
    )


def bidirectional(
    model: Model,
    kinds: tuple[str, str],
    source: str,
    units: tuple[int, int],
    types: Types,
    *,
    sequences: bool = False,
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> str:
    """Two layers, the second from the last step back."""
    steps, terms = model.shapes[source]
    told: dict[str, Any] = {"merge_mode": "concat", "n_out": sum(units), **fields}
    for way, kind, n in zip(("forward", "backward"), kinds, units, strict=True):
        told |= _kernels(model, kind, terms, n, f"{way}_")
        told |= {
            f"{way}_name": way,
            f"{way}_class_name": kind,
            f"{way}_n_states": n,
            f"{way}_activation": "tanh",
            f"{way}_recurrent_activation": "sigmoid",
        }
    both = int(told["n_out"])
    return model.add(
        "Bidirectional",
        [source],
        (steps, both) if sequences else (both,),
        types,
        options,
        n_timesteps=steps,
        n_in=terms,
        return_sequences=sequences,
        return_state=False,
        **told,
    )


def time_distributed(
    model: Model, source: str, kind: str, shape: tuple[int, ...], types: Types, **fields: Any
) -> str:
    """A layer for each step, whose result has the shape `shape`."""
    steps = model.shapes[source][0]
    name = f"steps{len(model.layers)}"
    inner = {"name": f"{name}_in", "class_name": kind, "inputs": [name], **fields}
    model.layers.append(
        {
            "name": name,
            "class_name": "TimeDistributed",
            "inputs": [source],
            "wrapped_layer": inner,
            "n_time_steps": steps,
            "output_shape": [steps, *shape],
        }
    )
    model.shapes[name] = (steps, *shape)
    model.config[name] = {"Precision": {"result": given(model, source)}}
    model.config[f"{name}_in"] = {"Precision": types}
    model.config[f"{name}_end"] = {"Precision": {"result": types["result"]}}
    return name


def given(model: Model, source: str) -> str:
    """The precision of a layer's result."""
    return str(model.config[source]["Precision"]["result"])


def layer_norm(
    model: Model, source: str, types: Types, options: dict[str, Any] | None = None, power: int = 3
) -> str:
    """A normalization of each row, with an epsilon of 10**-power."""
    rows, terms = model.shapes[source]
    return model.add(
        "LayerNormalization",
        [source],
        (rows, terms),
        types,
        options,
        n_in=rows * terms,
        n_out=rows * terms,
        seq_len=rows,
        axis=2,
        epsilon_power_of_10=power,
        gamma_data=model.weights(terms),
        beta_data=model.weights(terms),
    )


def embedding(model: Model, source: str, rows: int, channels: int, types: Types) -> str:
    """A row of a table for each code."""
    return model.add(
        "Embedding",
        [source],
        (*model.shapes[source], channels),
        types,
        n_in=model.shapes[source][0],
        n_out=channels,
        vocab_size=rows,
        embeddings_data=model.weights(rows, channels),
    )


def einsum_dense(
    model: Model,
    source: str,
    equation: str,
    kernel: tuple[int, ...],
    shape: tuple[int, ...],
    types: Types,
    bias: tuple[int, ...] | None = None,
    **options: Any,
) -> str:
    """A product with a constant tensor, plus a bias that broadcasts."""
    return model.add(
        "EinsumDense",
        [source],
        shape,
        types,
        options,
        equation=equation,
        inp_shape=model.shapes[source],
        out_shape=shape,
        weight_data=model.weights(*kernel),
        bias_data=None if bias is None else model.weights(*bias),
    )


def einsum(
    model: Model, a: str, b: str, equation: str, shape: tuple[int, ...], types: Types
) -> str:
    """A product of two tensors."""
    return model.add(
        "Einsum",
        [a, b],
        shape,
        types,
        equation=equation,
        inp0_shape=model.shapes[a],
        inp1_shape=model.shapes[b],
        out_shape=shape,
    )
