"""From a knapsack's answers to those that hold for real: a budget that moves, then single steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hwsim.compress.choice.knapsack import Answers, Knapsack
from hwsim.compress.choice.trials import ChoiceTrial, ChoiceTrials

CLOSE = 1.01
"""The ratio of two budgets between which none is tried."""

BUDGETS = 24
"""From the dearest choice's cost to the cheapest's, where what holds is looked for."""
AFTER = 3
"""Budgets below the first that holds."""

Holds = Callable[[ChoiceTrial], bool]


def best_within(trials: ChoiceTrials, budget: int, tries: int) -> ChoiceTrial | None:
    """The best choice whose weights have at most `budget` bits; None where none has.

    Bits are the network's, which may be more than the layers' together. From the knapsack's answers
    and from the same bits for all, each step up (or two) here, with the steps down that it needs
    there, is taken that makes the network better, until none does or so many were tried.
    """
    sack, room = trials.sack, budget
    while (start := sack.solve(room)) is not None:
        proposed = trials(start)
        if proposed.bits <= budget:
            break
        room -= proposed.bits - budget
    else:
        return None

    def holds(trial: ChoiceTrial) -> bool:
        return trial.bits <= budget

    last = len(trials.found) + tries
    starts = (found for found in (proposed, trials(_even(sack, room))) if holds(found))
    ends = [
        better_within(trials, best, budget, holds, last)
        for best in sorted(starts, key=lambda found: found.rank, reverse=True)
    ]
    return max(ends, key=lambda found: found.rank)


def better_within(
    trials: ChoiceTrials, best: ChoiceTrial, budget: int, holds: Holds, last: int
) -> ChoiceTrial:
    """From a choice that holds by single exchanges to one that none makes better.

    Or until `last` choices are tried in all.
    """
    end: ChoiceTrial | None = best
    while end is not None:
        best = end
        end = _first_better(trials, _swaps(trials.sack, end.answers, budget), end, holds, last)
    return best


def cheapest_that_holds(
    trials: ChoiceTrials, holds: Holds, tries: int, start: ChoiceTrial | None = None
) -> ChoiceTrial | None:
    """A choice that holds, and no choice with one step down anywhere does; None where none holds.

    It begins with the dearest, or with `start`, which is all that is looked at where that does not
    hold. Budgets are halved by their logarithm until two are close; steps down follow, those first
    that save most for what they lose.
    """
    sack = trials.sack
    best = _anything(trials, holds) if start is None else start
    if best is None or not holds(best):
        return None
    low, high = sack.cost(sack.cheapest), best.cost
    while high > low * CLOSE:
        middle = max(round((max(low, 1) * high) ** 0.5), low)
        answers = sack.solve(middle)
        assert answers is not None
        found = trials(answers)
        if holds(found):
            best, high = found, min(found.cost, middle)
        else:
            low = middle + 1
    for _ in range(tries):
        held = _first_that_holds(trials, _down(sack, best.answers), holds)
        if held is None:
            break
        best = held
    return best


def cheaper_that_holds(
    trials: ChoiceTrials, best: ChoiceTrial, holds: Holds, last: int
) -> ChoiceTrial:
    """From a choice that holds to cheaper ones, by steps down and by one up for others down.

    Until none holds, or `last` choices are tried in all.
    """
    end: ChoiceTrial | None = best
    while end is not None:
        best = end
        every = (*_down(trials.sack, best.answers), *_trades(trials.sack, best.answers))
        end = _first_that_holds(trials, every, holds, last)
    return best


def _first_that_holds(
    trials: ChoiceTrials, every: Iterable[Answers], holds: Holds, last: int | None = None
) -> ChoiceTrial | None:
    for answers in every:
        if last is not None and len(trials.found) >= last:
            return None
        found = trials(answers)
        if holds(found):
            return found
    return None


def _trades(sack: Knapsack, answers: Answers) -> list[Answers]:
    """A step up and one or two down elsewhere that are cheaper; those that lose least first."""
    places, cost = range(len(answers)), sack.cost(answers)
    found = [
        down
        for at in places
        if (up := _stepped(sack, answers, at, 1)) is not None
        for other in places
        if other != at
        for step in (-1, -2)
        if (down := _stepped(sack, up, other, step)) is not None and sack.cost(down) < cost
    ]
    return sorted(found, key=sack.loss)


def _anything(trials: ChoiceTrials, holds: Holds) -> ChoiceTrial | None:
    """A choice that holds: the dearest, or one a little below it."""
    sack = trials.sack
    most, least = sack.cost(sack.dearest), sack.cost(sack.cheapest)
    for share in (1.0, 0.95, 0.9, 0.8):
        answers = sack.solve(round(least + (most - least) * share))
        assert answers is not None
        found = trials(sack.dearest if share == 1.0 else answers)
        if holds(found):
            return found
    return None


def _stepped(sack: Knapsack, answers: Answers, at: int, step: int) -> Answers | None:
    value = answers[at] + step
    if not 0 <= value < len(sack.questions[at].values):
        return None
    return (*answers[:at], value, *answers[at + 1 :])


def _down(sack: Knapsack, answers: Answers) -> list[Answers]:
    """A step down somewhere, those first that lose least for what they save."""
    loss, cost = sack.loss(answers), sack.cost(answers)
    steps = (_stepped(sack, answers, at, -1) for at in range(len(answers)))
    found = [one for one in steps if one is not None and sack.cost(one) < cost]
    return sorted(found, key=lambda one: (sack.loss(one) - loss) / (cost - sack.cost(one)))


def _even(sack: Knapsack, budget: int) -> Answers:
    """The same value for all, as far as they have it, the highest within a budget."""
    best = sack.cheapest
    for value in sorted({value for q in sack.questions for value in q.values}):
        held = ([k for k, one in enumerate(q.values) if one <= value] for q in sack.questions)
        found = tuple(places[-1] if places else 0 for places in held)
        if sack.cost(found) <= budget:
            best = found
    return best


def _swaps(sack: Knapsack, answers: Answers, budget: int) -> list[Answers]:
    """A step up or two, and as few down elsewhere as it takes; those that lose least first."""

    def every() -> Iterator[Answers]:
        places = range(len(answers))
        ups = [_stepped(sack, answers, at, steps) for at in places for steps in (1, 2)]
        for up in (one for one in ups if one is not None):
            if sack.cost(up) <= budget:
                yield up
                continue
            for at in places:
                down: Answers | None = up
                while down is not None and sack.cost(down) > budget:
                    down = _stepped(sack, down, at, -1)
                if down is not None and up[at] == answers[at]:
                    yield down

    return sorted(dict.fromkeys(every()), key=sack.loss)


def dearest_that_holds(trials: ChoiceTrials, holds: Holds, tries: int) -> ChoiceTrial | None:
    """The best choice found that holds, where it holds for what is small; None where none does.

    Budgets fall from the dearest choice's on, in even ratios, until some that hold were seen; then
    steps up are tried, and steps up here with one down there. What holds need not follow the cost.
    """
    sack = trials.sack
    most, least = sack.cost(sack.dearest), sack.cost(sack.cheapest)
    best: ChoiceTrial | None = None
    seen = 0
    for k in range(BUDGETS + 1):
        answers = sack.solve(round(most * (least / most) ** (k / BUDGETS)))
        found = trials(sack.cheapest if answers is None else answers)
        if holds(found):
            seen += 1
            best = found if best is None or found.rank > best.rank else best
        if seen and (k == 0 or seen > AFTER):
            break
    last = len(trials.found) + tries
    while best is not None and best.answers != sack.dearest:
        better = _first_better(trials, _exchanges(sack, best.answers), best, holds, last)
        if better is None:
            break
        best = better
    return best


def _first_better(
    trials: ChoiceTrials, every: list[Answers], than: ChoiceTrial, holds: Holds, last: int
) -> ChoiceTrial | None:
    for answers in every:
        if len(trials.found) >= last:
            return None
        found = trials(answers)
        if holds(found) and found.rank > than.rank:
            return found
    return None


def _exchanges(sack: Knapsack, answers: Answers) -> list[Answers]:
    """One or two steps up, alone or with one down elsewhere, where the sum of losses falls."""
    places = range(len(answers))
    ups = [up for at in places for n in (1, 2) if (up := _stepped(sack, answers, at, n))]
    both = [
        down
        for up in ups
        for at in places
        if up[at] == answers[at] and (down := _stepped(sack, up, at, -1))
    ]
    found = [one for one in (*ups, *both) if sack.loss(one) < sack.loss(answers)]
    return sorted(dict.fromkeys(found), key=sack.loss)
