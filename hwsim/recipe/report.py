"""The report of a recipe: `report.json`, and `report.html`, one page that opens from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.recipe.work import DATA, PAGE
from hwsim.reporting.facts import rate_text
from hwsim.reporting.markup import bar, esc, link, table
from hwsim.reporting.page import section, sheet
from hwsim.storage import write_atomically

if TYPE_CHECKING:
    from hwsim.recipe.result import RecipeRun, Row

HEADS = (
    "step", "accuracy", "weights' bits", "of them 0", "parameters", "MACs", "bit operations",
    "cycles", "DSP", "block RAM", "LUT", "seconds",
)  # fmt: skip
"""Columns of the table of steps, in the terminal and on the page."""

NOTE = (
    '<p class="note">Accuracy is the emulator\'s on all test samples, that of a float model ONNX'
    " Runtime's. Bits are those of the weights as hardware stores them, biases apart; a bit"
    " operation is a product of one bit of a weight and one of a code. Cycles, multipliers (DSP)"
    " and block RAMs are those of the plan that a build takes by default, look-up tables (LUT) what"
    " synthesis counted, where a step built.</p>"
)


def columns(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows of texts; a column of which nothing is known is left out."""
    found = [cells(row) for row in rows]
    used = [k for k in range(len(HEADS)) if k < 2 or any(one[k] for one in found)]
    return tuple(HEADS[k] for k in used), [tuple(one[k] for k in used) for one in found]


def cells(row: Row) -> tuple[str, ...]:
    """A row's figures as texts, in the order of `HEADS`; empty where nothing is known."""
    found = row.figures
    score, plan = found["accuracy"], found["plan"] or {}
    return (
        row.do if row.number == 0 else f"{row.number} {row.do}",
        "" if score is None else f"{100 * score['top1']:.2f} %",
        _count(found["weight_bits"]),
        f"{100 * found['sparsity']:.1f} %",
        _count(found["parameters"]),
        _count(found["macs"]),
        _count(found["bit_operations"]),
        _count(plan.get("cycles")),
        _count(plan.get("multipliers")),
        _count(plan.get("block_rams")),
        _count(lut_of(row)),
        f"{row.seconds:.1f}" + (" kept" if row.kept else ""),
    )


def lut_of(row: Row) -> int | None:
    """Look-up tables that a build's synthesis counted; None for other steps."""
    used: Mapping[str, Any] = row.facts.get("used") or {}
    value = used.get("lut")
    return None if value is None else int(value)


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def write_report(found: RecipeRun) -> None:
    """Write both files into the recipe's folder."""
    facts = found.to_dict()
    out = found.recipe.setting.out
    write_atomically(out / DATA, (json.dumps(facts, indent=1) + "\n").encode())
    write_atomically(out / PAGE, page(found).encode())


def page(found: RecipeRun) -> str:
    """The page as text."""
    recipe = found.recipe.setting
    lead = f"{recipe.file.name}: {recipe.model.name}, for {recipe.target}, seed {recipe.seed}"
    if found.failed is not None:
        lead += f". It ended early: {found.failed}"
    parts = [_figures(found.rows), section("Steps", NOTE + _table(found.rows))]
    parts += [section("What became of it", _bars(found.rows))]
    parts += [section(_title(row), _told(row)) for row in found.rows[1:]]
    return sheet("From a float model to a small exact one", lead, parts)


def _figures(rows: Sequence[Row]) -> str:
    first, last = rows[0].figures, rows[-1].figures
    shown = [(_percent(last), f"accuracy; the model had {_percent(first)}")]
    ratio = first["weight_bits"] / last["weight_bits"] if last["weight_bits"] else 0.0
    shown += [(f"{ratio:.1f} ×", f"fewer bits of weights: {last['weight_bits']:,}")]
    shown += [(f"{100 * last['sparsity']:.1f} %", "of the weights are 0")]
    plan = last["plan"] or {}
    if "cycles" in plan:
        rate = rate_text(plan["fps"])
        shown += [
            (rate, f"inferences a second on {plan['target']}, {plan['cycles']:,} cycles each")
        ]
    parts = "".join(
        f"<div><dt>{esc(what)}</dt><dd>{esc(value)}</dd></div>" for value, what in shown
    )
    return f'<dl class="figures">{parts}</dl>'


def _percent(figures: Mapping[str, Any]) -> str:
    score = figures["accuracy"]
    return "not counted" if score is None else f"{100 * score['top1']:.2f} %"


def _table(rows: Sequence[Row]) -> str:
    heads, texts = columns(rows)
    shown = [tuple(map(esc, one)) for one in texts]
    return table(heads, shown, caption="Steps", numbers=heads[1:])


def _bars(rows: Sequence[Row]) -> str:
    """Accuracy and bits of each network that is another than the one before, as bars."""
    parts, most = [], max(row.figures["weight_bits"] for row in rows)
    for before, row in zip((None, *rows), rows, strict=False):
        if before is not None and row.figures == before.figures:
            continue
        score = row.figures["accuracy"]
        if score is not None:
            text = f"{100 * score['top1']:.2f} % of {score['samples']:,}"
            parts.append(bar(f"{_title(row)}: accuracy", score["top1"], 1.0, text))
        bits = row.figures["weight_bits"]
        parts.append(bar(f"{_title(row)}: bits of weights", bits, most, f"{bits:,}"))
    return "".join(parts)


def _title(row: Row) -> str:
    return "The model" if row.number == 0 else f"{row.number}. {row.do}"


def _told(row: Row) -> str:
    """A step's options, what it said, and links to its files."""
    options = {name: value for name, value in row.options.items() if value not in (None, False)}
    parts = [_pairs({name: _text(value) for name, value in options.items()})]
    plain = {
        name: _text(value)
        for name, value in row.facts.items()
        if isinstance(value, str | int | float | bool)
    }
    if plain:
        parts.append(f"<h3>Result</h3>{_pairs(plain)}")
    parts += [f'<p class="note">{esc(note)}</p>' for note in row.notes]
    links = [
        f"<li>{link(f'{row.folder}/{row.facts[key]}', text)}</li>"
        for key, text in (("page", "where accuracy went"), ("picture", "plans as a picture"))
        if key in row.facts
    ]
    if "folder" in row.facts:
        file = f"{row.folder}/{row.facts['folder']}/README.md"
        links.append(f"<li>{link(file, 'the build')}</li>")
    if links:
        parts.append(f'<ul class="links">{"".join(links)}</ul>')
    return "".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _pairs(values: Mapping[str, str]) -> str:
    rows = (
        f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in values.items()
    )
    return f'<dl class="pairs">{"".join(rows)}</dl>'
