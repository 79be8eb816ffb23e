"""What each place loses alone with fewer bits, all else in float: the losses of a knapsack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.judges import Say
from hwsim.compress.choice.knapsack import Knapsack, Question, Together
from hwsim.compress.choice.simulate import with_tensors, with_weights
from hwsim.compress.choice.widths import BitPlace, Range, Room
from hwsim.compress.float_model import Batch
from hwsim.compress.quantize.linear import Formats, formats_of


def measured(
    room: Room, batches: Iterable[Batch], span: Range, say: Say | None = None
) -> tuple[Question, ...]:
    """The questions of a room, with losses measured on `batches` and no costs yet."""
    few = list(batches)
    yardstick = Yardstick.of(room.model.run(few, room.model.outputs))
    questions = []
    for place in room.places:
        if say is not None:
            say(f"what {place.name} alone loses")
        bits = tuple(span.of(place))
        losses = []
        for n in bits:
            made = formats_of(room.model, room.found, room.seen, room.scheme({place: n}))
            losses.append(_alone(room, place, made, few, yardstick))
        nothing = (0,) * len(bits)
        questions.append(Question(place.name, place.kind, bits, tuple(losses), nothing))
    return tuple(questions)


def priced(room: Room, questions: tuple[Question, ...], cost: str) -> Knapsack:
    """The questions with these costs and no others: `bits` of all weights, or bit `operations`.

    Bit operations are of all products, each the bits of its weight times those of its code.
    """
    plain = formats_of(room.model, room.found, room.seen, room.linear)
    return (
        _operations(room, questions, plain)
        if cost == "operations"
        else _bits(room, questions, plain)
    )


def _bits(room: Room, questions: tuple[Question, ...], plain: Formats) -> Knapsack:
    named = {name for place in room.places if place.weights for name in place.names}
    once = {layer.weights: layer for layer in room.found.layers}
    fixed = sum(
        plain.weights[layer.name].total_bits(room.sizes[tensor])
        for tensor, layer in once.items()
        if layer.name not in named
    )
    paid = (
        replace(q, costs=tuple(n * place.numbers for n in q.values))
        for place, q in zip(room.places, questions, strict=True)
    )
    return Knapsack(tuple(paid), fixed=fixed)


def _alone(
    room: Room, place: BitPlace, made: Formats, few: list[Batch], yardstick: Yardstick
) -> float:
    if place.weights:
        layers = {layer.name: layer for layer in room.found.layers}
        model = with_weights(room.model, layers, {n: made.weights[n] for n in place.names})
    else:
        model = with_tensors(room.model, {n: made.tensors[n] for n in place.names})
    return yardstick.loss(model.run(few, room.model.outputs))


def _operations(room: Room, questions: tuple[Question, ...], plain: Formats) -> Knapsack:
    """Products times the bits of both, which may be chosen or given."""
    at = {name: k for k, place in enumerate(room.places) for name in place.names if place.weights}
    of = {n: k for k, place in enumerate(room.places) for n in place.names if not place.weights}
    alone = [[0] * len(question.values) for question in questions]
    fixed, pairs = 0, dict[tuple[int, int], int]()
    for layer in room.found.layers:
        products, read = room.products[layer.name], layer.reads[0]
        first, second = at.get(layer.name), of.get(read)
        by, code = plain.weights[layer.name], plain.tensors[read].bits
        if first is not None and second is not None:
            pairs[first, second] = pairs.get((first, second), 0) + products
        elif first is not None or second is not None:
            chosen, other = (
                (first, products * code) if first is not None else (second, by.total_bits(products))
            )
            assert chosen is not None
            for k, n in enumerate(questions[chosen].values):
                alone[chosen][k] += n * other
        else:
            fixed += by.total_bits(products) * code
    together = tuple(
        Together(
            first,
            second,
            tuple(
                tuple(products * n * m for m in questions[second].values)
                for n in questions[first].values
            ),
        )
        for (first, second), products in pairs.items()
    )
    paid = (replace(q, costs=tuple(c)) for q, c in zip(questions, alone, strict=True))
    return Knapsack(tuple(paid), together, fixed)
