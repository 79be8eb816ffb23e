"""What a time step of an LSTM or a GRU computes: its operators, made once for all steps.

Source of every rule: `nnet_recurrent.h`, `nnet_recr_activations.h` and the templates that choose
kernels (`recurrent_templates.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.factors import is_bit, read_factors
from hwsim.frontends.hls4ml.importer import accumulator, result
from hwsim.frontends.hls4ml.lookup import lookup
from hwsim.frontends.hls4ml.sums import order, strategy_of
from hwsim.frontends.hls4ml.types import Precision, read_precision, read_weights
from hwsim.ops import Dense, Op, Relu, TensorType

TABLES = ("sigmoid", "tanh")


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One direction of a recurrent layer.

    `accum` is the type of all sums and gates, `state` that of what a step leaves to the next.
    `gate`, `gates` and `candidate` are the functions of one gate, of two side by side and of the
    new values; `shown` is that of an LSTM's state. `reset_first`: a GRU's gates as PyTorch has
    them.
    """

    lstm: bool
    units: int
    of_input: Dense
    of_state: Dense
    accum: Precision
    state: Precision
    gate: Sequence[Op]
    gates: Sequence[Op]
    candidate: Sequence[Op]
    shown: Sequence[Op]
    reset_first: bool


def read_cell(layer: Any, x: TensorType, way: str = "") -> Cell:
    """The cell of a layer whose input is `x`; `way` is forward or backward in a Bidirectional.

    Raises HwsimError for what the C++ of hls4ml 1.3 has no kernel for.
    """
    prefix = f"{way}_" if way else ""
    kind = str(layer.get_attr(f"{prefix}class_name") if way else layer.class_name).lower()
    if kind not in ("lstm", "gru"):
        raise HwsimError(f"a recurrent layer must be an LSTM or a GRU, not {kind}")
    _check_numbers(layer)
    accum, state = (
        read_precision("the precision 'accum'", layer.get_attr("accum_t").precision),
        result(layer),
    )
    units = int(layer.get_attr(f"{prefix}n_states" if way else "n_out"))
    sums, states = TensorType((1, units), accum.format), TensorType((1, units), state.format)
    gate, new = f"{prefix}recurrent_activation", f"{prefix}activation"
    return Cell(
        lstm=kind == "lstm",
        units=units,
        of_input=_dense(layer, prefix, "", x, "reuse_factor"),
        of_state=_dense(layer, prefix, "recurrent_", states, f"{prefix}recurrent_reuse_factor"),
        accum=accum,
        state=state,
        gate=_function(layer, gate, sums, accum),
        gates=_function(layer, gate, sums.with_shape((1, 2 * units)), accum),
        candidate=_function(layer, new, sums, accum),
        shown=_function(layer, new, states, accum),
        reset_first=bool(layer.get_attr("pytorch", False)),
    )


def _check_numbers(layer: Any) -> None:
    """The products of both kernels are chosen by the type of the layer's input (`nnet_mult.h`)."""
    for variable in (layer.get_input_variable(), layer.get_output_variable()):
        if is_bit(variable.type.precision):
            raise HwsimError(
                f"a recurrent layer's input and result must have more than one bit, not "
                f"{variable.type.precision}"
            )


def _dense(layer: Any, prefix: str, part: str, x: TensorType, reuse: str) -> Dense:
    """The sums of one kernel; `reuse` is the attribute of its reuse factor."""
    weight, bias = f"{prefix}{part}weight", f"{prefix}{part}bias"
    factors = read_factors(layer, weight, x)
    codes = factors.codes.T if layer.get_attr("_weights_transposed", False) else factors.codes
    biases, precision = read_weights(bias, layer.weights[bias])
    chosen = int(layer.get_attr(f"{prefix}reuse_factor") or 1)
    return Dense(
        weights=codes.reshape(x.channels, -1),
        bias=biases.reshape(-1),
        weight_format=factors.format,
        bias_frac=precision.format.frac_bits,
        accumulator=accumulator(
            layer, _order(layer, chosen, int(layer.get_attr(reuse) or 1), x.channels)
        ),
    )


def _order(layer: Any, chosen: int, reuse: int, terms: int) -> tuple[int, ...] | None:
    """The order of a kernel's sums; None: as they stand.

    hls4ml chooses the kernel by another reuse factor than the one that it gives to it.
    """
    strategy = strategy_of(layer)
    if strategy == "latency":
        return None
    if strategy == "resource":
        short, fits = chosen <= terms, reuse <= terms
        if short != fits or max(reuse, terms) % min(reuse, terms):
            raise HwsimError(
                f"a reuse factor of {reuse} for {terms} terms must suit the kernel that hls4ml "
                f"chooses by the factor {chosen}: its C++ stops at an assertion"
            )
    return order(reuse, terms, accumulator(layer).overflow)


def _function(layer: Any, name: str, x: TensorType, out: Precision) -> Sequence[Op]:
    """The activation that the attribute `name` tells, from codes of type `x` to `out`."""
    told = str(layer.get_attr(name)).lower()
    if told == "relu":
        return (Relu(),) if x.format == out.format else (Relu(), out.cast())
    if told not in TABLES:
        raise HwsimError(
            f"a recurrent layer's {name} must be relu, sigmoid or tanh, not {told}: the C++ of "
            "hls4ml 1.3 has no other"
        )
    size = int(layer.get_attr("table_size"))
    table = read_precision("the precision 'table'", layer.get_attr("table_t").precision)
    return lookup(told, size, table, out, x)
