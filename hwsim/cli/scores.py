"""Accuracy for people: totals, a table by class, and the confusion matrix where it is small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.evaluation.scores import Accuracy, ClassScore
from hwsim.verification import Verification

MATRIX_CLASSES = 12
"""Classes up to which the confusion matrix is printed; beyond, the worst pairs."""

MISTAKES = 10
LISTED = 40
"""Classes up to which all are listed; beyond, the `WORST` of lowest recall."""

WORST = 20


def show_accuracy(model: str, found: Accuracy, says: str, reference: Path | None) -> None:
    """What `hwsim accuracy` found."""
    out = console()
    columns = ("", "samples", "right", "top-1", "top-5")
    rows = [_total("emulator", found)]
    if found.reference is not None:
        rows.append(_total("reference" if reference is None else reference.name, found.reference))
    shown = columns if found.right_of_5 is not None else columns[:-1]
    out.print(
        table(
            f"accuracy of {Path(model).name}", shown, [row[: len(shown)] for row in rows], shown[1:]
        )
    )
    by_class = [
        (c.name, f"{c.samples:,}", f"{c.right:,}", _percent(c.recall), _percent(c.precision))
        for c in _listed(found)
    ]
    heads = ("class", "samples", "right", "recall", "precision")
    title = "by class" if found.classes <= LISTED else f"the {WORST} classes of lowest recall"
    out.print(table(title, heads, by_class, heads[1:]))
    _show_confusion(found)
    if says:
        out.print(f"data: {says}", markup=False)


def show_both(found: Verification) -> None:
    """The accuracies that `hwsim verify` counted, where it was given labels."""
    if found.emulator is None:
        return
    columns = ("", "samples", "right", "top-1", "top-5")
    rows = [_total("emulator", found.emulator)]
    rows += [] if found.rtl is None else [_total("RTL", found.rtl)]
    shown = columns if found.emulator.right_of_5 is not None else columns[:-1]
    console().print(table("accuracy", shown, [row[: len(shown)] for row in rows], shown[1:]))


def _listed(found: Accuracy) -> Sequence[ClassScore]:
    if found.classes <= LISTED:
        return found.by_class
    seen = [c for c in found.by_class if c.samples]
    return sorted(seen, key=lambda c: (c.recall or 0.0, c.label))[:WORST]


def _total(name: str, found: Accuracy) -> tuple[str, ...]:
    top1, top5 = _percent(found.top1), _percent(found.top5)
    return (name, f"{found.samples:,}", f"{found.right:,}", top1, top5)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _show_confusion(found: Accuracy) -> None:
    out = console()
    if found.classes <= MATRIX_CLASSES:
        numbers = [str(n) for n in range(found.classes)]
        rows = [
            (found.name(label), *(f"{n:,}" if n else "." for n in row))
            for label, row in enumerate(found.confusion.tolist())
        ]
        title = "label (row) and prediction (column)"
        out.print(table(title, ("class", *numbers), rows, numbers))
    elif found.confused:
        rows = [
            (found.name(label), found.name(got), f"{count:,}")
            for label, got, count in found.confused[:MISTAKES]
        ]
        out.print(
            table("most frequent mistakes", ("class", "taken for", "samples"), rows, ("samples",))
        )
