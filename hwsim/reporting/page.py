"""The report page: one HTML file that opens from disk and asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from string import Template
from typing import Any

from hwsim.graph import Graph
from hwsim.reporting import picture
from hwsim.reporting.facts import describe, shape_text
from hwsim.reporting.markup import bar, esc, link, table
from hwsim.reporting.markup import picture as image

TEMPLATE = Path(__file__).with_name("page.html")
RESOURCES = {"lut": "LUT", "dsp": "DSP", "bram": "BRAM", "ff": "FF", "io": "Pins"}


class State(Enum):
    """How a rung stands; the value is what the page says."""

    REFERENCE = "the reference"
    EQUAL = "equal"
    DIFFERENT = "different"
    DONE = "done"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step from the model file to the bitstream, and what it was compared with.

    `accuracy` is 0 to 1, on the images that all rungs saw; `notes` are short lines of detail.
    """

    name: str
    state: State
    says: str = ""
    compared: int | None = None
    different: int | None = None
    accuracy: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image of reals 0 to 1 with its label and what each rung takes it for."""

    pixels: Any
    label: int
    predictions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the page shows; `build` is what `build.json` holds, links are relative."""

    title: str
    lead: str
    graph: Graph
    build: Mapping[str, Any]
    rungs: tuple[Rung, ...]
    cycles_per_inference: float | None = None
    latency: int | None = None
    samples: tuple[Sample, ...] = ()
    samples_note: str = ""
    links: Mapping[str, str]
    provenance: Mapping[str, str]


def render(page: Page) -> str:
    """The page as text."""
    parts = [_figures(page), _rungs(page)]
    if page.samples:
        parts.append(_samples(page))
    graph = _section("Graph", picture_of(page), "graph-part")
    parts.append(f'<div class="columns">{graph}<div>{_hardware(page)}{_files(page)}</div></div>')
    parts.append(_plan(page))
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(title=esc(page.title), lead=esc(page.lead), body="\n".join(parts))


def picture_of(page: Page) -> str:
    """The graph in a box that scrolls where the page is narrower."""
    note = (
        '<p class="note">Each card is a layer. On a line: shape and format of the codes; s is '
        "signed, u unsigned, then bits in all and, after a point, fraction bits.</p>"
    )
    return note + (
        '<div class="scroll" role="region" tabindex="0" aria-label="Picture of the graph">'
        f"{picture.draw(page.graph)}</div>"
    )


def _section(title: str, content: str, style: str = "") -> str:
    return f'<section class="{style}"><h2>{esc(title)}</h2>{content}</section>'


def _figures(page: Page) -> str:
    build = page.build
    compared = sum(r.compared or 0 for r in page.rungs)
    different = sum(r.different or 0 for r in page.rungs)
    found: list[tuple[str, str]] = []
    if compared:
        found.append((f"{different:,}", f"different of {compared:,} integers compared"))
    accuracies = [r.accuracy for r in page.rungs if r.accuracy is not None]
    if accuracies:
        found.append((f"{100 * accuracies[-1]:.1f} %", "accuracy, last rung measured"))
    cycles = page.cycles_per_inference
    if cycles:
        rate = build["clock_mhz"] * 1e6 / cycles
        found.append((f"{cycles:,.0f}", f"cycles an inference: {rate:,.0f} a second"))
    if build.get("fmax_mhz"):
        found.append((f"{build['fmax_mhz']:.1f} MHz", f"Fmax, {build['clock_mhz']:g} MHz asked"))
    if "lut" in build:
        found.append(
            (f"{build['lut']:,}", f"LUT, with {build['dsp']} DSP and {build['bram']} BRAM")
        )
    tiles = "".join(f"<div><dt>{esc(text)}</dt><dd>{esc(n)}</dd></div>" for n, text in found)
    return f'<dl class="figures">{tiles}</dl>' if tiles else ""


def _rungs(page: Page) -> str:
    items = []
    for rung in page.rungs:
        style = rung.state.name.lower().replace("_", "-")
        facts = []
        if rung.compared is not None:
            facts.append(f"{rung.compared:,} integers compared, {rung.different or 0:,} different")
        if rung.accuracy is not None:
            facts.append(f"accuracy {100 * rung.accuracy:.2f} %")
        lines = "".join(f"<li>{esc(x)}</li>" for x in (*facts, *rung.notes))
        items.append(
            f'<li class="rung {style}"><h3>{esc(rung.name)}</h3>'
            f'<p class="state">{esc(rung.state.value)}</p>'
            f"<p>{esc(rung.says)}</p>{f'<ul>{lines}</ul>' if lines else ''}</li>"
        )
    return _section("From the model to the bitstream", f'<ol class="rungs">{"".join(items)}</ol>')


def _samples(page: Page) -> str:
    cards = []
    for number, one in enumerate(page.samples, start=1):
        rows = "".join(
            f'<div class="{"right" if got == one.label else "wrong"}"><dt>{esc(name)}</dt>'
            f"<dd>{got} {'✓' if got == one.label else '✗'}</dd></div>"
            for name, got in one.predictions.items()
        )
        shown = image(one.pixels, f"test image {number}, labelled {one.label}")
        cards.append(
            f"<figure>{shown}<figcaption>label {one.label}</figcaption><dl>{rows}</dl></figure>"
        )
    note = f'<p class="note">{esc(page.samples_note)}</p>' if page.samples_note else ""
    return _section("Test images", f'{note}<div class="samples">{"".join(cards)}</div>')


def _hardware(page: Page) -> str:
    build = page.build
    parts = []
    have = build.get("available", {})
    used = {key: build[key] for key in RESOURCES if key in build}
    if used and have:
        bars = "".join(
            bar(RESOURCES[k], n, have[k], f"{n:,} of {have[k]:,} ({100 * n / have[k]:.0f} %)")
            for k, n in used.items()
            if have.get(k)
        )
        parts.append(f"<h3>{esc(build.get('part') or build['target'])}</h3>{bars}")
    elif used:
        listed = "".join(
            f"<div><dt>{RESOURCES[k]}</dt><dd>{n:,}</dd></div>" for k, n in used.items()
        )
        note = "Estimated by synthesis alone, without placement: counts, and no share of a device."
        parts.append(
            f'<h3>{esc(build.get("part") or build["target"])}</h3><p class="note">{note}</p>'
            f'<dl class="pairs">{listed}</dl>'
        )
    parts.append(_speed(page))
    return _section("Hardware", "".join(parts) or "<p>Not synthesized.</p>")


def _speed(page: Page) -> str:
    build, parts = page.build, []
    asked, fmax = build["clock_mhz"], build.get("fmax_mhz")
    if fmax:
        limit = 1.1 * max(fmax, asked)
        text = f"{fmax:.1f} MHz reached, {asked:g} asked (tick)"
        parts.append(f"<h3>Clock</h3>{bar('Fmax', fmax, limit, text, mark=asked)}")
    bound = build["bottleneck"]
    parts.append("<h3>Cycles for one inference</h3>")
    cycles = page.cycles_per_inference
    limit = 1.1 * max(cycles or 0, bound["cycles"])
    parts.append(bar("Analytic", bound["cycles"], limit, f"{bound['cycles']:,}"))
    if cycles:
        over = 100 * (cycles / bound["cycles"] - 1)
        parts.append(bar("Measured", cycles, limit, f"{cycles:,.1f} ({over:+.1f} %)"))
    latency = f" Latency of the first result: {page.latency:,} cycles." if page.latency else ""
    parts.append(
        f'<p class="note">Bottleneck: {esc(bound["name"])}, {esc(bound["why"])}.{esc(latency)}</p>'
    )
    return "".join(parts)


def _files(page: Page) -> str:
    links = "".join(f"<li>{link(href, text)}</li>" for text, href in page.links.items())
    rows = "".join(
        f"<div><dt>{esc(k)}</dt><dd>{esc(v)}</dd></div>" for k, v in page.provenance.items()
    )
    return _section("Files", f'<ul class="links">{links}</ul>') + _section(
        "Made with", f'<dl class="pairs">{rows}</dl>'
    )


def _plan(page: Page) -> str:
    model = {node["name"]: node for node in describe(page.graph)["nodes"]}
    rows = []
    for row in page.build["plan"]:
        fold = f"{row['pe']} × {row['simd']}" if "pe" in row else ""
        fifos = ", ".join(str(d) for d in row.get("fifos", {}).values())
        known = model.get(row["node"], {})
        rows.append(
            (
                esc(row["node"]),
                esc(known.get("summary", row["operator"])),
                esc(shape_text(row["shape"])),
                esc(row["format"]),
                f"{row['cycles']:,}",
                f"{row['multipliers']:,}" if row.get("multipliers") else "",
                esc(fold),
                f"{row['lanes']:,}",
                esc(fifos),
                f"{row['macs']:,}" if row["macs"] else "",
                f"{known['weights']:,}" if known.get("weights") else "",
            )
        )
    columns = (
        "Node", "Operator", "Shape", "Format", "Cycles", "Multipliers", "PE × SIMD", "Lanes",
        "FIFO", "MACs", "Weights",
    )  # fmt: skip
    return _section("Plan", table(columns, rows, caption="Plan by node", numbers=columns[4:]))
