"""hls4ml models with many activations side by side, behind inputs of all widths."""

from __future__ import annotations

import random
from typing import Any

from support.hls4ml_models import OVERFLOWS, ROUNDINGS, Model

TABLES = ("sigmoid", "tanh", "softplus", "softsign", "elu", "selu")
PLAIN = ("relu", "hard_sigmoid", "hard_tanh", "binary_tanh", "ternary_tanh")
CLASSES = {
    "hard_sigmoid": "HardActivation",
    "hard_tanh": "HardActivation",
    "leaky_relu": "LeakyReLU",
    "thresholded_relu": "ThresholdedReLU",
    "parametrized_elu": "ELU",
    "prelu": "PReLU",
}
NAMES = {
    "leaky_relu": "LeakyReLU",
    "thresholded_relu": "ThresholdedReLU",
    "parametrized_elu": "ELU",
}
PARAMETERS = {"leaky_relu": 0.3, "thresholded_relu": 0.7, "parametrized_elu": 1.3}
EVERYWHERE = (*TABLES, *PLAIN, *PARAMETERS, "prelu")
PARALLEL = ("relu6", "relu1")
SIZES = (1024, 256, 64, 2048, 1000, 100, 37, 1023)


def precision(rng: random.Random, *, least: int, most: int, signed: bool = True) -> str:
    """A random type whose binary point is within it.

    Where one is far outside, hls4ml's own ap_types abort on an assertion (a bit beyond the MSB).
    """
    width = rng.randint(least, most)
    kind = "fixed" if signed or rng.random() < 0.7 else "ufixed"
    modes = f"{rng.choice(ROUNDINGS)},{rng.choice(OVERFLOWS)}"
    return f"{kind}<{width},{rng.randint(1, min(width, 9))},{modes}>"


def activation(
    model: Model, source: str, function: str, types: dict[str, str], **options: Any
) -> str:
    """One activation of hls4ml's table by its C++ name; ELU with a parameter has its own."""
    shape = model.shapes[source]
    fields: dict[str, Any] = {}
    if function in PARAMETERS:
        fields["activ_param"] = PARAMETERS[function]
    if function == "prelu":
        fields["param_data"] = model.weights(*shape) * 0.3
    return model.add(
        CLASSES.get(function, "Activation"),
        [source],
        shape,
        types,
        options,
        activation=NAMES.get(function, function),
        **fields,
    )


def behind(model: Model, types: str) -> str:
    """The input assigned to another type."""
    return activation(model, "x", "linear", {"result": types})


def heads(seed: int, functions: tuple[str, ...], given: list[str], shape: tuple[int, ...]) -> Model:
    """Each function behind one type of input, with precisions and table sizes of its own."""
    model = Model(seed, shape, given="fixed<26,8,RND_CONV,SAT>")
    rng = random.Random(seed)
    sources = [behind(model, kind) for kind in given]
    for place, function in enumerate(functions):
        types = {"result": precision(rng, least=3, most=20, signed=False)}
        if function in PARAMETERS or function == "prelu":
            types["param"] = precision(rng, least=4, most=14)
        options: dict[str, Any] = {}
        if function in (*TABLES, "parametrized_elu"):
            table = precision(rng, least=6, most=24)
            options = {"TableSize": rng.choice(SIZES), "table_t": table}
        activation(model, sources[place % len(sources)], function, types, **options)
    return model


SOFTMAXES = ("stable", "latency", "argmax", "legacy")


def softmax(
    model: Model,
    source: str,
    implementation: str,
    types: dict[str, str],
    size: int = 1024,
    **fields: Any,
) -> str:
    """One softmax; `types` are those of its tables and sums, `fields` say over which axis."""
    return model.add(
        "Softmax",
        [source],
        model.shapes[source],
        {name: types[name] for name in ("result", "accum") if name in types},
        {"Implementation": implementation, "TableSize": size}
        | {f"{name}_t": kind for name, kind in types.items() if name.startswith(("exp", "inv"))},
        activation="softmax",
        **{"axis": -1, **fields},
    )


def softmax_types(rng: random.Random) -> dict[str, str]:
    """Random types: tables that round, sums that saturate or wrap, few bits for the reciprocal."""
    return {
        "exp_table": precision(rng, least=8, most=20),
        "inv_table": precision(rng, least=8, most=20),
        "inv_inp": precision(rng, least=10, most=20, signed=False),
        "accum": precision(rng, least=8, most=22),
        "result": precision(rng, least=6, most=18, signed=False),
    }


def softmax_heads(seed: int, given: list[str], shape: tuple[int, ...], *, stream: bool) -> Model:
    """Each implementation behind each type, by random types and in parallel by default ones too.

    A stream has seven readers at the most.
    """
    model = Model(seed, shape, given="fixed<26,8,RND_CONV,SAT>")
    rng = random.Random(seed)
    for kind in given:
        source = behind(model, kind)
        for implementation in SOFTMAXES:
            types = softmax_types(rng)
            softmax(model, source, implementation, types, rng.choice((64, 256, 1024)))
            if not stream:
                softmax(model, source, implementation, {"result": "fixed<16,6>"})
    return model


def add_signs(model: Model, source: str) -> None:
    """Batch norms that hls4ml joins with a sign of two or three values."""
    for function in ("binary_tanh", "ternary_tanh"):
        norm = model.batchnorm(source, {"scale": "fixed<12,4>", "bias": "fixed<12,4>"})
        activation(model, norm, function, {})


def signs(seed: int, shape: tuple[int, ...]) -> Model:
    """Only those."""
    model = Model(seed, shape, given="fixed<9,4,RND,SAT>")
    add_signs(model, "x")
    return model


def particular(seed: int) -> Model:
    """Signs of each type that C++ treats in a way of its own, QKeras's slopes, unary tables.

    A unary table is indexed by the raw bits of a signed or an unsigned code.
    """
    from hls4ml.model.types import FixedPrecisionType

    model = Model(seed, (6,), given="fixed<26,8>")
    for kind, bits in (("fixed<6,3,RND,SAT>", 6), ("ufixed<5,1>", 5)):
        source = behind(model, kind)
        for given in ("fixed<9,3,RND,SAT>", "fixed<5,3,RND_CONV,SAT_SYM>"):
            model.add(
                "UnaryLUT",
                [source],
                (6,),
                {"result": given},
                {"table_t": "fixed<12,4,RND,SAT>"},
                activation="unary_lut",
                n_in=6,
                table_data=model.weights(1 << bits) * 3,
            )
    source = behind(model, "fixed<13,3>")
    for given in ("uint<1>", "ufixed<1,1>", "int<2>", "fixed<8,1,RND,SAT>"):
        activation(model, source, "binary_tanh", {"result": given})
    source = behind(model, "fixed<14,3>")
    for function in ("hard_sigmoid", "hard_tanh"):
        model.add(
            "HardActivation",
            [source],
            (6,),
            {"result": "fixed<9,2,RND,SAT>"},
            activation=function,
            slope=0.5,
            shift=0.5,
            slope_prec=FixedPrecisionType(width=2, integer=0, signed=False),
            shift_prec=FixedPrecisionType(width=2, integer=0, signed=False),
        )
    return model


def softmax_by_attributes(seed: int) -> Model:
    """Softmaxes as hls4ml's reader of HGQ2 describes them: every type and size an attribute."""
    from hls4ml.model.types import FixedPrecisionType, RoundingMode, SaturationMode

    def fixed(width: int, integer: int, signed: bool = False) -> Any:
        modes = {"rounding_mode": RoundingMode.RND, "saturation_mode": SaturationMode.SAT}
        return FixedPrecisionType(width, integer, signed, **modes)

    model = Model(seed, (3, 4), given="fixed<26,8>")
    source = behind(model, "fixed<11,5,RND,SAT>")
    for implementation, scale, sides in (
        ("stable", 1.0, (3, 1)),
        ("stable", 0.3, (1, 4)),
        ("latency", 0.7, (1, 1)),
    ):
        fields: dict[str, Any] = {
            "implementation": implementation,
            "n_in": 12,
            "n_outer": sides[0],
            "n_inner": sides[1],
            "axis": -1,
            "exp_table_t": fixed(12, 2 if implementation == "stable" else 6),
            "exp_table_size": 256,
            "inv_table_t": fixed(10, 1),
            "inv_inp_t": fixed(9, 5),
            "inv_table_size": 512,
            "exp_scale": scale,
            "parallelization_factor": sides[0] * sides[1],
        }
        if implementation == "stable":
            fields["inp_norm_t"] = fixed(8, 4)
        model.add(
            "Softmax",
            [source],
            (3, 4),
            {"accum": "ufixed<18,8>", "result": "ufixed<10,0,RND,SAT>"},
            activation="softmax",
            **fields,
        )
    return model
