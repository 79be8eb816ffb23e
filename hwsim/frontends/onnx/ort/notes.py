"""Warnings where the runtime computes something else than the Graph, and about how often.

The shares were measured by `benchmarks/runtime_differences.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.float_steps import PortStep, RowStep, UnaryStep
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.ort.kernels import WHOLE_SUMS, RuntimeKernel
from hwsim.frontends.onnx.ort.moves import TURNED_SOFTMAX, is_turned, note_turned
from hwsim.frontends.onnx.ort.shares import share_of_ties
from hwsim.frontends.onnx.ort.sum_functions import is_function_of_sums, tried_sums
from hwsim.frontends.onnx.ort.ties import (
    EXACT_FLOAT,
    MOST_SUMS,
    near_means,
    near_ties,
    near_totals_of,
    tried_line,
    tried_product,
)
from hwsim.frontends.shared.exact_sums import multiplied
from hwsim.frontends.shared.in_turn import is_in_turn
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.rounding import Made
from hwsim.frontends.shared.trying import (
    absorbed,
    reals_by_channel,
    reals_of_pairs,
)
from hwsim.frontends.shared.values import (
    Codes,
    Extreme,
    Joined,
    Level,
    Mean,
    OfTwoCodes,
    Pair,
    PerChannel,
    Product,
    RawInput,
    Real,
    Scaled,
    Softmax,
    Source,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import Mul, Requantize

INT32 = (-(1 << 31), (1 << 31) - 1)

SUMS = "{runtime} {adds}"
ROUNDED = f"{SUMS}, so that about one code in {{share}} that this node gives may differ by one step"
SHARES = {8: "200,000", 16: "1,000"}  # by the bits of the result
USUAL = {8: 5e-6, 16: 1e-3}  # the same
TIES = (
    "{runtime} averages in float32 here, so that exact ties may round the other way: up to "
    "{share:.2g} % of the codes, by one step; the exact average is rounded to nearest even here"
)
OFTEN = 1e-3
SUM_TIES = (
    f"{SUMS}, so that exact ties may round the other way: up to {{share:.2g}} % of the codes that "
    "this node gives, by one step"
)
LAST_BITS = f"{SUMS}, so that the reals differ in their last bits (by about 1e-6 of the largest)"
BLOCKS = (
    "{runtime} rounds its input to 8 bits in blocks here (MatMulNBits), so that nearly all "
    "values differ, by up to about one percent of the largest; here they are exact"
)
ALPHA_BITS = (
    "{runtime} multiplies by 'alpha' before the weights' scale, so that the reals may differ in "
    "their last bit"
)
ROUGH_TIES = (
    "{runtime}'s last bits are others here (those of an exponential, of a logarithm or of the C "
    "library), so that codes which meet a tie may differ by one step: up to {share:.2g} % of them"
)
EXPONENTIAL_BITS = (
    "{runtime}'s exponential is rounded otherwise, so that the reals differ in their last bits "
    "(by about 1e-7 of the largest)"
)
FLOAT_SOFTMAX = (
    "{runtime} computes the softmax in float32 here, so that about one code in {share} may "
    "differ by one step; the exact softmax is rounded to nearest even here"
)
WRAPS = (
    "{runtime}'s sums wrap around at 32 bits here; those that pass them differ altogether, "
    "since here they do not wrap"
)


def note_codes(run: Importer, real: Real, by: Quantizer) -> None:
    """Warn where the codes of a tensor that `by` quantizes may differ."""
    held = run.made.get(Made(real.source, real.steps, by))
    edge = held.edge if isinstance(held, Codes) else ""
    real = absorbed(real)
    if isinstance(real.source, Pair | Mean | Weighing | Product):
        note_turned(run, real.source.name, real.source.tensor)
    if is_function_of_sums(real):
        _note_function(run, real, by)
        return
    match real.source:
        case Pair() as source:
            _note_terms(run, (source.a, source.b))
            _note_pair(run, source, by, edge)
        case Scaled() as source:
            _note_terms(run, (source.term,))
            if source.unit is None:  # else followed step by step
                _note_scaled(run, source, by, edge)
        case Level(fine=True) as source:
            _note_fine(run, source, real, by)
        case Level() as source:  # followed step by step
            _note_rough(run, source, real, by)
        case Joined() | Extreme() as source:
            for part in source.parts:
                note_codes(run, part, by)
        case PerChannel() as source:
            rough = source.rough or source.term.fine
            share = near_ties(reals_by_channel(run, source)[0], by) if rough else 0
            if share:
                run.note(source.name, ROUGH_TIES, share=100 * share)
        case OfTwoCodes() as source:
            share = near_ties(reals_of_pairs(run, source), by) if source.rough else 0
            if share:
                run.note(source.name, ROUGH_TIES, share=100 * share)
        case Mean() | Total() if is_in_turn(run, real):
            pass  # followed in the runtime's order
        case Mean() as source:
            share = near_means(run, source, by)
            if share:
                run.note(source.name, TIES, share=100 * share)
        case Weighing() as source:
            _note_sums(run, source, by, edge)
        case Product() as source:
            _note_product(run, source, by, edge)
        case Total() as source:
            share = near_totals_of(run, source, by)
            if share:
                run.note(source.name, TIES, share=100 * share)
        case Softmax() as source:
            if is_turned(run, source.tensor):
                kernel = "its integer kernel" if source.whole else "float32"
                run.note(source.name, TURNED_SOFTMAX, kernel=kernel)
            elif not source.whole:
                often = SHARES[8 if by.format.width <= 8 else 16]
                run.note(source.name, FLOAT_SOFTMAX, share=often)


def _note_function(run: Importer, real: Real, by: Quantizer) -> None:
    """Of exact sums, by more than a clamp: the runtime takes it of its own, rounded ones."""
    source = real.source
    functions = [step for step in real.steps if isinstance(step, Unary)]
    exact = False
    match source:
        case Weighing():
            _note_first(run, source)
            if run.choice(source.tensor).kernel is RuntimeKernel.BLOCKS:
                return
            exact = _is_exact(run, source) or _exact_in_floats(run, source, None)
        case Product():
            exact = run.choice(source.tensor).kernel in WHOLE_SUMS
        case Pair():
            _note_terms(run, (source.a, source.b))
        case Scaled():
            _note_terms(run, (source.term,))
    bits = 8 if by.format.width <= 8 else 16
    if isinstance(source, Pair | Scaled):  # in a fine unit
        run.note(source.name, ROUNDED, share=SHARES[bits])
        return
    tried = tried_sums(run, real, by)
    if exact:
        share = tried.missed(by)
        if any(step.rough for step in functions):
            share = max(share, near_ties(tried.values, by))
        if share:
            run.note(_name(source, functions), ROUGH_TIES, share=100 * share)
        return
    near = tried.near
    if near > OFTEN * 2 ** (bits - 8):
        run.note(_name(source, functions), SUM_TIES, share=100 * near)
    else:
        run.note(_name(source, functions), ROUNDED, share=SHARES[bits])


def _name(source: Source, functions: Sequence[Unary]) -> str:
    """Of the node that adds."""
    return functions[0].name if isinstance(source, Level | RawInput) else source.name


def _is_exact(run: Importer, source: Weighing) -> bool:
    """Whether the runtime adds whole numbers."""
    return source.exact and run.choice(source.tensor).kernel in WHOLE_SUMS


def _note_rounded(run: Importer, name: str, by: Quantizer, edge: str) -> None:
    """Warn that sums are rounded in float32, and how often; `edge` has their codes."""
    makers = {made: node for node in run.nodes for made in node.outputs}
    node = makers.get(edge)
    while node is not None and not (isinstance(node.op, Requantize) and node.op.quant == by.quant):
        node = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
    share = 0.0
    if node is not None and isinstance(node.op, Requantize):
        share = share_of_ties(run, node.op, node.inputs[0])
    if share > OFTEN:
        run.note(name, SUM_TIES, share=100 * share)
        return
    bits = 8 if by.format.width <= 8 else 16
    often = f"{round(1 / share):,}" if share > USUAL[bits] else SHARES[bits]
    run.note(name, ROUNDED, share=often)


def _note_pair(run: Importer, source: Pair, by: Quantizer, edge: str) -> None:
    """Pairs of narrow codes are followed step by step, but for products that are taken of reals."""
    a, b = source.a, source.b
    if not source.wide:
        if not (source.in_reals and isinstance(source.op, Mul)):
            return
        assert isinstance(a, Level) and isinstance(b, Level)
        pairs, different = tried_product(run, a, b, by)
        if not different:
            return
        run.note(source.name, ROUNDED, share=f"{max(pairs // different, 1):,}")
        return
    _note_rounded(run, source.name, by, edge)


def _note_terms(run: Importer, terms: Sequence[Level | Weighing]) -> None:
    """Layers whose sums the runtime has wrapped or rounded before something is added to them."""
    for term in terms:
        if isinstance(term, Weighing):
            _note_first(run, term)


def _note_first(run: Importer, source: Weighing) -> None:
    if _wraps(run, source):
        run.note(source.name, WRAPS)
    if run.choice(source.tensor).kernel is RuntimeKernel.BLOCKS:
        run.note(source.name, BLOCKS)


def note_layers(run: Importer) -> None:
    """Warn of all layers, whatever reads their sums, that the runtime wraps or rounds before."""
    for source in run.sums:
        if isinstance(source, Weighing):
            _note_first(run, source)


def _note_scaled(run: Importer, source: Scaled, by: Quantizer, edge: str) -> None:
    """Where it is known what the runtime computes of each code, all are tried."""
    kind = run.types[source.term.codes.edge] if isinstance(source.term, Level) else None
    few = kind is not None and kind.hi - kind.lo < MOST_SUMS // kind.channels
    known = isinstance(source.term, Level) and not source.term.fine
    if isinstance(source.term, Level) and source.function is not None and few and known:
        codes, different = tried_line(run, source, source.term, by)
        if different:
            run.note(source.name, ROUNDED, share=f"{max(codes // different, 1):,}")
        return
    _note_rounded(run, source.name, by, edge)


def _note_sums(run: Importer, source: Weighing, by: Quantizer, edge: str) -> None:
    kernel = run.choice(source.tensor).kernel
    _note_first(run, source)
    if (
        kernel is not RuntimeKernel.BLOCKS
        and not (kernel is RuntimeKernel.INTEGER and source.exact)
        and not _exact_in_floats(run, source, by)
    ):
        _note_rounded(run, source.name, by, edge)


def _note_product(run: Importer, source: Product, by: Quantizer | None, edge: str = "") -> None:
    """Of two tensors: followed where the runtime adds whole numbers."""
    whole = run.choice(source.tensor).kernel in WHOLE_SUMS
    kind = run.types[multiplied(run, source)]
    if whole and (kind.lo < INT32[0] or kind.hi > INT32[1]):
        run.note(source.name, WRAPS)
    scales = [float(source.scale), *([by.scale] if by is not None else [])]
    if whole or (kind.magnitude < EXACT_FLOAT and all(math.frexp(s)[0] == 0.5 for s in scales)):
        return
    if by is None:
        run.note(source.name, LAST_BITS)
    else:
        _note_rounded(run, source.name, by, edge)


def _note_rough(run: Importer, level: Level, real: Real, by: Quantizer) -> None:
    """Codes that meet a tie as nearly as the runtime's exponential is rounded otherwise."""
    functions = [step for step in real.steps if isinstance(step, Unary)]
    kind = run.types[level.codes.edge]
    if not any(step.rough for step in functions) or kind.hi - kind.lo >= MOST_SUMS:
        return
    codes = np.arange(kind.lo, kind.hi + 1)
    reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
    for step in functions:
        reals = step.function(reals)
    share = near_ties(reals, by)
    if share:
        run.note(_node_of(functions), ROUGH_TIES, share=100 * share)


def _note_fine(run: Importer, level: Level, real: Real, by: Quantizer) -> None:
    """Codes of reals that the runtime has rounded to float32 on the way."""
    kind, share = run.types[level.codes.edge], 0.0
    if kind.hi - kind.lo < MOST_SUMS:
        codes = np.arange(kind.lo, kind.hi + 1)
        reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
        for step in (step for step in real.steps if isinstance(step, Unary)):
            reals = step.function(reals)
        share = near_ties(reals, by)
    if share > OFTEN:
        run.note(_maker(run, level), SUM_TIES, share=100 * share)
    else:
        run.note(_maker(run, level), ROUNDED, share=SHARES[8 if by.format.width <= 8 else 16])


def note_steps(run: Importer, output: str, steps: Sequence[PortStep]) -> None:
    """Warn of functions that an output's port computes, and otherwise than the runtime."""
    runtime = run.runtime
    computes = any(isinstance(step, UnaryStep | RowStep) for step in steps)
    if computes and runtime is not None and not runtime.at_ports:
        run.note(output, EXPONENTIAL_BITS)


def note_functions(run: Importer, real: Real) -> None:
    """Warn of functions at the end of the model whose reals differ in their last bits."""
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if any(step.rough for step in functions):
        run.note(_node_of(functions), EXPONENTIAL_BITS)


def _node_of(functions: Sequence[Unary]) -> str:
    """The name of the node with the rough function, without its operator."""
    name = next(step.name for step in functions if step.rough)
    return name.partition("'")[2].removesuffix("'") or name


def _maker(run: Importer, level: Level) -> str:
    """The name of the node that makes codes."""
    return next((n.name for n in run.nodes if level.codes.edge in n.outputs), level.codes.edge)


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
        _note_product(run, source, None)
    if isinstance(source, Scaled | Total | Mean | Pair):
        run.note(source.name, LAST_BITS)
    if isinstance(source, Level) and source.fine:
        run.note(_maker(run, source), LAST_BITS)
    if not isinstance(source, Weighing):
        return
    _note_first(run, source)
    if source.op.weight_scale is not None:
        shown = np.float32(source.input.scale) * np.array(source.op.weight_scale, np.float32)
        if not np.array_equal(shown, source.scale):  # after a Gemm's alpha
            run.note(source.name, ALPHA_BITS)
    if (
        run.choice(source.tensor).kernel is not RuntimeKernel.BLOCKS
        and not source.exact
        and not _exact_in_floats(run, source, None)
    ):
        run.note(source.name, LAST_BITS)


def _is_rescaled(run: Importer, source: Joined) -> bool:
    """Whether the parts of what is joined were brought to a unit that is none of theirs."""
    level = run.levels.get(source)
    parts = [run.levels.get(part.source, part.source) for part in source.parts]
    return level is not None and any(
        not isinstance(part, Level) or part.scale != level.scale for part in parts
    )


def _wraps(run: Importer, source: Weighing) -> bool:
    kind = run.types[run.sums[source]]
    return source.exact and (kind.lo < INT32[0] or kind.hi > INT32[1])


def _exact_in_floats(run: Importer, source: Weighing, by: Quantizer | None) -> bool:
    """Whether float32 holds all that the runtime computes: powers of two, and sums that fit."""
    scales = [source.input.scale, *(float(s) for s in source.scale)]
    scales += [by.scale] if by is not None else []
    if source.rough_bias or any(math.frexp(scale)[0] != 0.5 for scale in scales):
        return False
    return source.op.bound([run.types[source.input.codes.edge]]) < EXACT_FLOAT
