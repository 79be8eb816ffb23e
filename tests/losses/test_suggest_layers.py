"""Layer by layer: what is suggested is read again, and nothing that can be kept is lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support import hls4ml_activations as activations
from support import hls4ml_layers as layers
from support.hls4ml_models import Model
from support.hls4ml_sequences import layer_norm, recurrent
from support.seeds import seeded

import hwsim
from hwsim.losses.suggest import AGAIN, merged

pytestmark = [
    pytest.mark.needs("hls4ml"),
    pytest.mark.filterwarnings("ignore::hwsim.InputSaturation"),
]
WEIGHTS = {"weight": "fixed<8,2>", "bias": "fixed<8,2>"}
SUMS = {"accum": "fixed<10,4>", "result": "fixed<9,4>"}
CUT = {"accum": "fixed<10,4,RND,SAT>", "result": "fixed<10,4,RND,SAT>"}
SMALL = {"result": "fixed<8,3>"}
GIVEN = "fixed<10,4>"
ROUNDS = 6


def dense(model: Model) -> None:
    model.activation(model.dense("x", 6, WEIGHTS | SUMS), "relu", SMALL)


def one_type(model: Model) -> None:
    """Types that are the same have no assignment in the Graph until one of them gets wider."""
    sums = model.dense("x", 6, WEIGHTS | CUT)
    model.activation(model.activation(sums, "relu", {"result": GIVEN}), "relu", {"result": GIVEN})


def line(model: Model) -> None:
    model.conv_line("x", 4, 3, WEIGHTS | SUMS, pads=(1, 1))


def maps(model: Model) -> None:
    model.conv("x", 3, (3, 3), WEIGHTS | CUT, pads=(1, 1, 1, 1))


def deep(model: Model) -> None:
    layers.depthwise(model, "x", (3, 3), WEIGHTS | SUMS)


def norm(model: Model) -> None:
    model.batchnorm("x", {"scale": "fixed<8,3>", "bias": "fixed<8,3>", **SMALL})


def average(model: Model) -> None:
    layers.pool(model, "x", "Average", (2, 2), {"accum": "fixed<8,3>", **SMALL})


def largest(model: Model) -> None:
    layers.pool(model, "x", "Max", (2, 2), {"accum": GIVEN, **SMALL})


def merge(op: str) -> Callable[[Model], None]:
    def build(model: Model) -> None:
        other = model.activation("x", "relu", {"result": "fixed<9,4>"})
        model.merge("x", other, SMALL, op=op)

    return build


def dot(model: Model) -> None:
    other = model.activation("x", "relu", {"result": "fixed<9,4>"})
    layers.dot(model, "x", other, {"accum": "fixed<10,5>", **SMALL})


def both(model: Model) -> None:
    other = model.activation("x", "relu", {"result": "fixed<9,4>"})
    model.concatenate("x", other, SMALL)


def activation(function: str, **types: str) -> Callable[[Model], None]:
    def build(model: Model) -> None:
        activations.activation(model, "x", function, {"result": "fixed<7,3>", **types})

    return build


def gated(kind: str) -> Callable[[Model], None]:
    def build(model: Model) -> None:
        names = ("weight", "bias", "recurrent_weight", "recurrent_bias", "accum", "result")
        recurrent(model, kind, "x", 3, dict.fromkeys(names, "fixed<8,3>"))

    return build


def normalized(model: Model) -> None:
    types = {"scale": "fixed<8,3>", "bias": "fixed<8,3>", "accum": "fixed<12,5>", **SMALL}
    layer_norm(model, "x", types)


SLOPE, TABLE = {"param": "fixed<8,2>"}, {"table": "fixed<12,3>"}
VECTOR, LINE, MAP = (8,), (6, 3), (4, 4, 2)
KINDS: dict[str, tuple[tuple[int, ...], Callable[[Model], None]]] = {
    "dense": (VECTOR, dense),
    "types that are the same": (VECTOR, one_type),
    "Conv1D": (LINE, line),
    "Conv2D": (MAP, maps),
    "depthwise": (MAP, deep),
    "batch norm": (LINE, norm),
    "average": (MAP, average),
    "max": (MAP, largest),
    "add": (VECTOR, merge("add")),
    "multiply": (VECTOR, merge("multiply")),
    "dot": (VECTOR, dot),
    "concatenate": (VECTOR, both),
    "leaky": (VECTOR, activation("leaky_relu", **SLOPE)),
    "PReLU": (VECTOR, activation("prelu", **SLOPE)),
    "ELU": (VECTOR, activation("elu", **TABLE)),
    "SELU": (VECTOR, activation("selu", **TABLE)),
    "thresholded": (VECTOR, activation("thresholded_relu", **SLOPE)),
    "LSTM": ((4, 3), gated("LSTM")),
    "GRU": ((4, 3), gated("GRU")),
    "layer norm": ((4, 6), normalized),
}
ROUNDED = ("LSTM", "GRU", "layer norm")
"""Kinds that keep what they round, and say so."""
STREAMED = ("dense", "depthwise", "batch norm", "average", "max", "leaky", "PReLU", "GRU")


def made(kind: str) -> Model:
    shape, build = KINDS[kind]
    given = "fixed<8,3>" if kind in ("LSTM", "GRU") else GIVEN
    model = Model(7, shape, given=given)
    build(model)
    return model


def data(model: Model):
    return np.random.default_rng(seeded(5)).normal(0, 4, (80, *model.shapes["x"]))


def converted(model: Model, folder, x, *, stream: bool = False, **options):
    """The model with what is suggested, converted as often as it says; and the last suggestion."""
    for _ in range(ROUNDS):
        built = model.build(folder, backend="hwsim", stream=stream)
        found = hwsim.suggest(built, x, **options)
        model.config = merged({"LayerName": model.config}, found)["LayerName"]
        if not any(AGAIN in sentence for sentence in found.left):
            break
    else:
        raise AssertionError("the suggestions never end")
    return model.build(folder, backend="hwsim", stream=stream), found


@pytest.mark.parametrize("overflow_only", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_with_the_precisions_that_are_suggested(kind, overflow_only, tmp_path):
    model = made(kind)
    x = data(model)
    first = hwsim.hazards(model.build(tmp_path, backend="hwsim"), x)
    assert any(row.count.overflows for row in first.rows)
    again, found = converted(model, tmp_path, x, overflow_only=overflow_only)
    rows = [row for row in hwsim.hazards(again, x).rows if row.what not in ("input", "index")]
    assert not any(row.count.overflows for row in rows)
    if not overflow_only and kind not in ROUNDED:
        assert not rows and not found.left
    elif not overflow_only:
        assert {row.name for row in rows} <= {left.partition(": ")[0] for left in found.left}


@pytest.mark.parametrize("kind", STREAMED)
def test_nothing_is_lost_in_a_stream_either(kind, tmp_path):
    model = made(kind)
    x = data(model)
    again, _ = converted(model, tmp_path, x, stream=True, overflow_only=True)
    rows = hwsim.hazards(again, x).rows
    assert not any(row.count.overflows for row in rows if row.what != "index")


def one_less(text: str, field: int) -> str:
    """A precision of one integer bit less (field 1), or of one fraction bit (field 0)."""
    kind, _, rest = text.partition("<")
    numbers, *modes = rest.rstrip(">").split(",", 2)[:2], *rest.rstrip(">").split(",")[2:]
    width, whole = map(int, numbers)
    return f"{kind}<{','.join([str(width - 1), str(whole - field), *modes])}>"


@pytest.mark.parametrize("kind", ["dense", "Conv1D", "batch norm", "add", "concatenate", "PReLU"])
def test_one_bit_less_of_any_precision_loses_again(kind, tmp_path):
    model = made(kind)
    x = data(model)
    _, found = converted(model, tmp_path, x)
    fields = [
        (layer, name, field)
        for layer, given in found.config["LayerName"].items()
        for name in given["Precision"]
        for field in (0, 1)
        if layer != "x" or field
    ]
    kept = model.config
    for layer, name, field in fields:
        precision = dict(kept[layer]["Precision"])
        precision[name] = one_less(precision[name], field)
        model.config = {**kept, layer: {**kept[layer], "Precision": precision}}
        rows = hwsim.hazards(model.build(tmp_path, backend="hwsim"), x).rows
        lost = sum(r.count.overflows + (r.what != "input") * r.count.rounded for r in rows)
        assert lost, (layer, name, precision[name])
    assert len(fields) > 2


def slope(model: Model, x, codes):
    """PReLU in reals."""
    alpha = np.floor(model.layers[1]["param_data"] * 64) / 64
    return np.where(codes > 0, codes, codes * alpha)


FLOATS: dict[str, Callable] = {
    "PReLU": slope,
    "add": lambda model, x, codes: codes + np.maximum(codes, 0),
    "multiply": lambda model, x, codes: codes * np.maximum(codes, 0),
    "concatenate": lambda model, x, codes: np.concatenate([codes, np.maximum(codes, 0)], -1),
}


@pytest.mark.parametrize("kind", FLOATS)
def test_what_is_suggested_gives_the_reals_of_the_float_model(kind, tmp_path):
    model = made(kind)
    x = data(model)
    x = np.round(x * 64) / 64  # steps of the input's type
    want = FLOATS[kind](model, x, x)
    before = np.abs(hwsim.emulate(model.build(tmp_path, backend="hwsim"), x) - want).max()
    again, _ = converted(model, tmp_path, x)
    assert (hwsim.emulate(again, x) == want).all() and before > 1
