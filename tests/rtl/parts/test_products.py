"""Folded sums of products equal plain integer sums at every folding and under all stalls."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support import rtl_bench
from support.seeds import seeded

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from rtl.parts.fold import Fold
from rtl.parts.products import SumOfProducts
from rtl.parts.replay import Replay
from rtl.parts.stored_weights import stored_weights

X, W = Format.int(5), Format.int(4)


class Layer(wiring.Component):
    """A sum of products behind its replay, as `rtl.design` places them."""

    def __init__(self, **kwargs: object) -> None:
        self.products = SumOfProducts(**kwargs)
        super().__init__(
            {
                "i": In(self.products.in_beat.stream),
                "o": Out(self.products.out_beat.stream),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.products = products = self.products
        source, fold = wiring.flipped(self.i), products.fold
        if fold.output_folds > 1:
            m.submodules.replay = replay = Replay(
                products.in_beat, fold.term_folds, fold.output_folds
            )
            wiring.connect(m, source, replay.i)
            source = replay.o
        wiring.connect(m, source, products.i)
        wiring.connect(m, products.o, wiring.flipped(self.o))
        return m


def expected(vectors, weights, bias):
    """Sums by plain integers; `vectors` is [position][group][term]."""
    groups, terms, outputs = len(weights), len(weights[0]), len(weights[0][0])
    return [
        [
            sum(v[g][t] * weights[g][t][o] for t in range(terms)) + bias[g * outputs + o]
            for g in range(groups)
            for o in range(outputs)
        ]
        for v in vectors
    ]


def drive(fold: Fold, rng: random.Random, *, stall: float, mutate: bool = False, reset_at=None):
    weights = [
        [[rng.randint(W.min, W.max) for _ in range(fold.outputs)] for _ in range(fold.terms)]
        for _ in range(fold.groups)
    ]
    bias = [rng.randint(-50, 50) for _ in range(fold.groups * fold.outputs)]
    positions = 4
    vectors = [
        [[rng.randint(X.min, X.max) for _ in range(fold.terms)] for _ in range(fold.groups)]
        for _ in range(positions)
    ]
    want = expected(vectors, weights, bias)
    if mutate:
        weights[-1][-1][-1] ^= 1
    dut = Layer(
        fmt=X,
        out=Format.int(14),
        weight=W,
        stored=stored_weights(W, None),
        fold=fold,
        weights=np.array(weights),
        bias=np.array(bias),
    )
    beats = []
    for n, vector in enumerate(vectors):
        for gf in range(fold.group_folds):
            for tf in range(fold.term_folds):
                codes = tuple(
                    vector[gf * fold.group_lanes + g][tf * fold.simd + s]
                    for g in range(fold.group_lanes)
                    for s in range(fold.simd)
                )
                final = gf == fold.group_folds - 1 and tf == fold.term_folds - 1
                beats.append((codes, int(final and n % 2 == 1)))
    out = dut.products.out_beat
    count = positions * fold.group_folds * fold.output_folds
    result = rtl_bench.run(
        dut,
        {dut.i: rtl_bench.words(beats, dut.products.in_beat)},
        {dut.o: count},
        rng=rng,
        idle=stall,
        stall=stall,
        reset_at=reset_at,
    )
    words = result.words[dut.o]
    bits = out.lanes * out.width
    got = [c for w in words for c in rtl_bench.unpack(w, out.lanes, out.width, True)]
    lasts = [w >> bits for w in words]
    return got, [c for row in want for c in row], lasts, result.cycles[dut.o]


FOLDS = [
    Fold(groups=1, terms=6, outputs=4),
    Fold(groups=1, terms=6, outputs=4, pe=2, simd=3),
    Fold(groups=1, terms=6, outputs=4, pe=4, simd=1),
    Fold(groups=1, terms=6, outputs=4, pe=1, simd=6),
    Fold(groups=1, terms=6, outputs=4, pe=4, simd=6),
    Fold(groups=4, terms=3, outputs=1, group_lanes=2),
    Fold(groups=2, terms=4, outputs=2, pe=1, simd=2),
    Fold(groups=2, terms=4, outputs=2, pe=2, simd=4, group_lanes=2),
    Fold(groups=1, terms=1, outputs=3, pe=1),
    Fold(groups=1, terms=20, outputs=1, simd=20),
]


@pytest.mark.parametrize("fold", FOLDS, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_sums_equal_plain_integers_at_every_folding(fold, stall):
    got, want, lasts, cycles = drive(fold, random.Random(f"{fold}{stall}"), stall=stall)
    assert got == want
    per = len(lasts) // 2
    assert lasts == ([0] * (per - 1) + [1]) * 2
    if not stall:  # one fold a cycle, without a bubble between vectors
        assert cycles[-1] - cycles[0] == (len(lasts) - 1) * fold.term_folds


def test_a_reset_in_mid_vector_leaves_no_trace():
    got, want, _, _ = drive(FOLDS[1], random.Random(seeded(3)), stall=0.3, reset_at=23)
    assert got == want


def test_one_flipped_weight_bit_is_seen():
    got, want, _, _ = drive(FOLDS[1], random.Random(seeded(5)), stall=0.0, mutate=True)
    assert got != want


def test_a_fold_must_divide_its_layer():
    with pytest.raises(HwsimError, match=r"^simd must divide 6, not be 4$"):
        Fold(groups=1, terms=6, outputs=4, simd=4)
