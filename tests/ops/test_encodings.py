"""Encodings of weights: sets, words, what is refused, and that saved graphs keep them."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from support.cases import CASES
from support.cli_calls import run

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph
from hwsim.ops import Codebook, Dense, PowersOfTwo

ENCODED = [case for case in CASES if getattr(case.op, "encoding", None) is not None]
SUMS = PowersOfTwo(exponents=((2, 4, 6), (1, 3, 5)))


def dense(weights, encoding, fmt: str = "s8") -> Dense:
    weights = np.asarray(weights)
    return Dense(
        weights=weights,
        bias=np.zeros(weights.shape[-1], int),
        weight_format=Format.parse(fmt),
        encoding=encoding,
    )


@pytest.mark.parametrize(
    ("encoding", "bits", "words"),
    [
        (PowersOfTwo(exponents=((0,),)), 2, {0: 0, 1: 1, -1: 3}),
        (PowersOfTwo(exponents=((0, 2, 3),)), 3, {0: 0, 1: 1, 4: 2, -8: 7}),
        (SUMS, 5, {0: 0, 4: 1, 16: 2, 64: 3, 2: 4, 64 + 32: 15, -(16 + 2): 22}),
        (Codebook(entries=(-9, 0, 7)), 2, {-9: 0, 0: 1, 7: 2}),
        (Codebook(entries=(-1, 1)), 1, {-1: 0, 1: 1}),
        (Codebook(entries=tuple(range(17))), 5, {16: 16}),
    ],
)
def test_a_weight_is_stored_as_the_word_that_the_encoding_says(encoding, bits, words):
    assert encoding.bits == bits
    assert encoding.words(np.array([list(words)])).tolist() == [list(words.values())]


def test_sums_of_powers_are_all_that_two_terms_and_a_sign_give():
    term = [[0, *(2**e for e in exponents)] for exponents in SUMS.exponents]
    every = {sign * (a + b) for a, b, sign in product(*term, (1, -1))}
    assert SUMS.values.tolist() == sorted(every)
    assert len(set(SUMS.words(SUMS.values).tolist())) == len(every)


@pytest.mark.parametrize("encoding", [SUMS, Codebook(entries=(-7, -2, 0, 3, 4, 90))])
def test_the_nearest_value_is_taken_and_of_two_the_lower_one(encoding):
    numbers = np.arange(-130, 131) / 2
    values = encoding.values.tolist()
    want = [min(values, key=lambda v: (abs(v - x), v)) for x in numbers.tolist()]
    assert encoding.nearest(numbers).tolist() == want


@pytest.mark.parametrize("encoding", [SUMS, Codebook(entries=(-7, -2, 0, 3, 4, 90))])
def test_shifted_values_have_the_same_words(encoding):
    finer = encoding.shifted(3)
    assert (finer.values == encoding.values * 8).all() and finer.bits == encoding.bits
    assert (finer.words(finer.values) == encoding.words(encoding.values)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: dense([[4, 0], [2, 3]], PowersOfTwo(exponents=((0, 1, 2),))),
            r"weights must be values of their powers of two, not 3 \(at \(1, 1\)\); nearest is 2",
        ),
        (
            lambda: dense([[-5], [9]], Codebook(entries=(-5, 0, 8))),
            r"weights must be values of their codebook, not 9 \(at \(1, 0\)\); nearest is 8",
        ),
        (
            lambda: dense([[-8], [8]], PowersOfTwo(exponents=((3,),)), "s4"),
            r"weights must be codes of s4 \(-8 to 7\), not -8 to 8",
        ),
        (lambda: PowersOfTwo(exponents=()), "must have one term at least, not none"),
        (lambda: PowersOfTwo(exponents=((1, 1),)), r"must be different and rise, not \(1, 1\)"),
        (lambda: PowersOfTwo(exponents=((),)), r"must be different and rise, not \(\)"),
        (lambda: PowersOfTwo(exponents=((-1, 0),)), r"from 0 to 62, not \(-1, 0\)"),
        (lambda: PowersOfTwo(exponents=((61,), (61,))), "must add up in 62 bits, not"),
        (lambda: PowersOfTwo(exponents=((0,),) * 16), "must have 65536 words at most, not 131072"),
        (lambda: Codebook(entries=(3,)), "must have from 2 to 65536 entries, not 1"),
        (lambda: Codebook(entries=(3, 2)), r"must be different and rise, not \(3, 2\)"),
        (lambda: Codebook(entries=(0, 1 << 62)), "must fit 62 bits, not reach"),
    ],
)
def test_what_is_no_encoding_or_no_value_of_one_is_refused(make, said):
    with pytest.raises(HwsimError, match=said):
        make()


@pytest.mark.parametrize("case", ENCODED[::4], ids=lambda case: case.id)
def test_a_saved_graph_keeps_its_encoding_and_asks_for_schema_3(case, tmp_path):
    graph, path = case.graph(), tmp_path / "g.hwsim"
    graph.save(path)
    back = Graph.load(path)
    assert back.node("op").op.encoding == case.op.encoding and back.hash() == graph.hash()
    assert graph.document()[0]["schema"] == 3


def test_a_saved_encoding_of_another_kind_of_value_is_refused(tmp_path):
    graph = next(case for case in ENCODED if case.id == "dense-ternary").graph()
    document, _ = graph.document()
    saved = document["nodes"][0]["op"]["encoding"]
    assert saved == {"$": "PowersOfTwo", "exponents": [[0]]}
    for wrong in ({**saved, "exponents": [[0.5]]}, {"$": "Exact"}, 3):
        with pytest.raises(HwsimError, match="a saved "):
            hwsim.graph.CODEC.decode({**document["nodes"][0]["op"], "encoding": wrong}, np.array)


def test_inspect_tells_how_weights_are_stored_and_counts_those_bits(tmp_path, capsys):
    graph = next(case for case in ENCODED if case.id == "dense-sums").graph()
    graph.save(tmp_path / "g.hwsim")
    status, out, _ = run(capsys, "inspect", tmp_path / "g.hwsim", "--json")
    (row,) = json.loads(out)["nodes"]
    assert status == 0 and row["summary"] == "dense 6 → 4, 5-bit powers of two"
    assert row["weight_bits"] == 24 * 5
