"""SVDF: a layer of filters over time, of int8 with a state of int16 (or int8, by Micro)."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet, only
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import requantized, wrapped
from hwsim.frontends.tflite.schema import ACTIVATIONS
from hwsim.ops import (
    Concat,
    Conv1D,
    Dense,
    Flatten,
    Op,
    Requantize,
    Reshape,
    Scheme,
    Select,
    TensorType,
    Window,
)
from hwsim.ops.base import IntArray

FEATURES, TIMES, BIAS, STATE = 1, 2, 3, 4


def svdf(run: LiteImporter, node: LiteNode) -> None:
    """One step: the newest value of each filter, then all that it remembers, weighed."""
    given, made, kept = run.tensor(node, 0), run.made(node), run.tensor(node, STATE)
    features = np.asarray(run.constant(node, FEATURES)).astype(np.int64)
    times = np.asarray(run.constant(node, TIMES)).astype(np.int64)
    rank, kind = int(node.options["rank"]), run.types[run.edge(node)]
    filters, memory = times.shape if times.ndim == 2 else (0, 0)
    fits = features.ndim == 2 and features.shape == (filters, kind.channels)
    if not fits or rank < 1 or filters % rank or len(kind.shape) != 1:
        raise HwsimError(
            f"{node}: its weights must be of (filters, features) and (filters, memory), the rank "
            f"a divisor of the filters, not {features.shape}, {times.shape} and {rank}"
        )
    memory_type = run.tensor(node, TIMES).dtype
    plain = (given.dtype, made.dtype, memory_type) == ("int8", "int8", kept.dtype)
    if not plain or kept.dtype not in ("int8", "int16"):
        raise HwsimError(f"{node}: it must be of int8 with a state, and its weights, of int16")
    if kept.dtype == "int8" and run.like is not KernelSet.TFLM:  # read as int16 there
        raise only(f"{node} with a state of int8", [KernelSet.TFLM])
    if run.like is not KernelSet.TFLM and node.options["activation"] != ACTIVATIONS.index("RELU"):
        raise only(f"{node} without a fused RELU (which no kernel applies)", [KernelSet.TFLM])
    fmt = run.format(kept)
    name, units = run.label(made), filters // rank
    x, state = run.meaning(given), run.meaning(kept)
    of_features = run.meaning(run.tensor(node, FEATURES)).scale
    factor = _factor(run.like, x.scale, of_features, state.scale)
    layer = Dense(
        weights=features.T,
        bias=np.zeros(filters, np.int64),
        weight_format=Format.int(8),
        bias_frac=0,
        zero_point=x.zero_point,
    )
    new = Requantize(scheme=Scheme.GEMMLOWP_DOUBLE, multiplier=(factor,), out=fmt)
    row: list[Op] = [layer, new, Reshape(shape=(1, filters))]
    newest = run.chain(f"{name}.new", run.edge(node), row, f"{name}.new")
    held = run.state(run.label(kept), TensorType((memory, filters), fmt), 0)
    if memory > 1:
        rest = Select(axis=0, indices=tuple(range(1, memory)))
        old = run.emit(f"{name}.old", rest, [held], f"{name}.old")
        remembered = run.emit(f"{name}.state", Concat(axis=0), [old, newest], f"{name}.state")
    else:
        remembered = newest
    run.carry(held, remembered)
    weigh = Conv1D(
        weights=times.reshape(units, rank, memory).transpose(2, 1, 0),
        bias=_bias(run, node, units),
        weight_format=fmt,
        bias_frac=0,
        window=Window((memory,)),
        groups=units,
    )
    sums = run.emit(f"{name}.sum", weigh, [remembered], f"{name}.sum")
    sums = wrapped(run, name, sums)
    of_times = run.meaning(run.tensor(node, TIMES)).scale
    last = np.array([_factor(run.like, state.scale, of_times, run.meaning(made).scale)])
    rounding = requantized(run, made, Scheme.GEMMLOWP_DOUBLE, last)
    run.give(node, [rounding, Flatten()], sums)


def _factor(like: KernelSet, given: np.float32, weights: np.float32, made: np.float32) -> float:
    """Steps of the result that one of a sum is worth: LiteRT's kernels multiply in float32."""
    if like is KernelSet.TFLM:
        return float(given) * float(weights) / float(made)
    return float(F32(F32(given) * F32(weights)) / F32(made))


def _bias(run: LiteImporter, node: LiteNode, units: int) -> IntArray:
    if not run.has(node, BIAS):
        return np.zeros(units, np.int64)
    values = np.asarray(run.constant(node, BIAS)).astype(np.int64)
    if values.shape != (units,):
        raise HwsimError(f"{node}: its bias must be {units} values, not of shape {values.shape}")
    return values
