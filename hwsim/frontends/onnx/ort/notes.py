"""Warnings of codes that may differ where the runtime computes something else, and how often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.ort.kernels import WHOLE_SUMS, RuntimeKernel
from hwsim.frontends.onnx.ort.moves import TURNED_SOFTMAX, is_turned, note_turned
from hwsim.frontends.onnx.ort.note_sums import (
    exact_in_floats,
    maker_of,
    node_of,
    note_first,
    note_product,
    note_rounded,
)
from hwsim.frontends.onnx.ort.sum_functions import is_function_of_sums, tried_sums
from hwsim.frontends.onnx.ort.ties import (
    MOST_SUMS,
    near_means,
    near_ties,
    near_totals_of,
    tried_line,
    tried_product,
)
from hwsim.frontends.onnx.ort.wording import (
    FLOAT_SOFTMAX,
    OFTEN,
    ROUGH_TIES,
    ROUNDED,
    SHARES,
    SUM_TIES,
    TIES,
)
from hwsim.frontends.shared.in_turn import is_in_turn
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.rounding import Made
from hwsim.frontends.shared.trying import absorbed, reals_by_channel, reals_of_pairs
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
from hwsim.ops import Mul


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
            share = near_ties(reals_of_pairs(source), by) if source.rough else 0
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
            note_product(run, source, by, edge)
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
            note_first(run, source)
            if run.choice(source.tensor).kernel is RuntimeKernel.BLOCKS:
                return
            exact = _is_exact(run, source) or exact_in_floats(run, source, None)
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
    note_rounded(run, source.name, by, edge)


def _note_terms(run: Importer, terms: Sequence[Level | Weighing]) -> None:
    """Layers whose sums the runtime has wrapped or rounded before something is added to them."""
    for term in terms:
        if isinstance(term, Weighing):
            note_first(run, term)


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
    note_rounded(run, source.name, by, edge)


def _note_sums(run: Importer, source: Weighing, by: Quantizer, edge: str) -> None:
    kernel = run.choice(source.tensor).kernel
    note_first(run, source)
    if (
        kernel is not RuntimeKernel.BLOCKS
        and not (kernel is RuntimeKernel.INTEGER and source.exact)
        and not exact_in_floats(run, source, by)
    ):
        note_rounded(run, source.name, by, edge)


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
        run.note(node_of(functions), ROUGH_TIES, share=100 * share)


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
        run.note(maker_of(run, level), SUM_TIES, share=100 * share)
    else:
        run.note(maker_of(run, level), ROUNDED, share=SHARES[8 if by.format.width <= 8 else 16])
