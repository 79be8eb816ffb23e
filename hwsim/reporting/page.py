"""The report page: one HTML file that opens from disk and asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from string import Template

from hwsim.build_folder import BuildFacts
from hwsim.graph import Graph
from hwsim.reporting import picture
from hwsim.reporting.layers import cost_table
from hwsim.reporting.markup import bar, esc, link, scrolling
from hwsim.reporting.samples import Sample, accuracy_section

TEMPLATE = Path(__file__).with_name("page.html")
RESOURCES = {
    "lut": "Logic (LUT)",
    "dsp": "Multipliers (DSP)",
    "bram": "Memory blocks (BRAM)",
    "ff": "Registers (FF)",
    "io": "Pins",
}
SMALL = 330  # pixels that a phone has for a picture
RUNG = (
    "Each step below is a rung of a ladder: the network computed once more, closer to the chip. A"
    " rung counts as equal only if every integer is that of the rung before."
)


class RungState(Enum):
    """How a rung stands; the value is what the page says."""

    REFERENCE = "the reference"
    EQUAL = "equal"
    DIFFERENT = "different"
    DONE = "done"
    NOT_MET = "not met"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step from the model file to the bitstream, and what it was compared with.

    `accuracy` and `top5` are 0 to 1, on the samples that all rungs saw; `notes` are short lines of
    detail.
    """

    name: str
    state: RungState
    says: str = ""
    compared: int | None = None
    different: int | None = None
    accuracy: float | None = None
    top5: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the page shows; links are relative."""

    title: str
    lead: str
    graph: Graph
    build: BuildFacts
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
    scores = [(r.name, r.accuracy, r.top5) for r in page.rungs if r.accuracy is not None]
    if scores or page.samples:
        parts.append(section("Accuracy", accuracy_section(scores, page.samples, page.samples_note)))
    parts.append(_layers(page))
    graph = section("The network", picture_of(page), "graph-part")
    parts.append(f'<div class="columns">{graph}<div>{_hardware(page)}{_files(page)}</div></div>')
    return sheet(page.title, page.lead, parts)


def sheet(title: str, lead: str, sections: Sequence[str]) -> str:
    """A page with the report's styles: a title, a sentence, and sections of HTML."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(title=esc(title), lead=esc(lead), body="\n".join(sections))


def picture_of(page: Page) -> str:
    """The graph in a box that scrolls where the page is narrower."""
    note = (
        '<p class="note">Each card is a layer. On a line: shape and format of the codes; s is '
        "signed, u unsigned, then bits in all and, after a point, fraction bits.</p>"
    )
    wide = picture.width(page.graph) > SMALL
    return note + scrolling(picture.draw(page.graph), "Picture of the graph", hint=wide)


def section(title: str, content: str, style: str = "") -> str:
    """A part of a page under a heading; the content is HTML."""
    return f'<section class="{style}"><h2>{esc(title)}</h2>{content}</section>'


def _figures(page: Page) -> str:
    build = page.build
    compared = sum(r.compared or 0 for r in page.rungs)
    different = sum(r.different or 0 for r in page.rungs)
    found: list[tuple[str, str]] = []
    if compared:
        found.append((f"{different:,}", f"different of {compared:,} integers compared"))
    measured = [r for r in page.rungs if r.accuracy is not None]
    if measured:
        found.append(
            (
                f"{100 * (measured[-1].accuracy or 0):.1f} %",
                f"of the labelled samples right ({measured[-1].name})",
            )
        )
    cycles = page.cycles_per_inference or build.bottleneck.cycles
    if cycles and build.clock_mhz:
        rate = build.clock_mhz * 1e6 / cycles
        how = "" if page.cycles_per_inference else " by the plan"
        found.append((f"{rate:,.0f}", f"inferences a second, {cycles:,.0f} cycles each{how}"))
    used = build.implementation
    if used is not None and used.fmax_mhz:
        says = f"highest clock that timing allows; {build.clock_mhz:g} MHz asked"
        found.append((f"{used.fmax_mhz:.1f} MHz", says))
    if used is not None:
        blocks = f"{used.dsp:,} multipliers (DSP) and {used.bram:,} memory blocks (BRAM)"
        found.append((f"{used.lut:,}", f"logic cells (LUT), {blocks}"))
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
    steps = f'<p class="note">{RUNG}</p><ol class="rungs">{"".join(items)}</ol>'
    return section("From the model to the bitstream", steps)


def _layers(page: Page) -> str:
    bound = page.build.bottleneck
    note = (
        '<p class="note">All layers work at once, each on a later part of the data, so the slowest'
        f" alone sets the rate: <b>{esc(bound.name)}</b>, {bound.cycles:,} cycles for an"
        " inference. A bar is a layer's share of that time; the rest of it the layer waits. Lanes"
        " are codes that go through side by side; a fold is how many outputs × inputs a layer"
        " multiplies in one cycle.</p>"
    )
    return section("Where the time goes", note + cost_table(page.graph, page.build))


def _hardware(page: Page) -> str:
    build = page.build
    parts = []
    implemented = build.implementation
    have = implemented.available if implemented else {}
    used = {key: getattr(implemented, key) for key in RESOURCES} if implemented else {}
    if used and have:
        bars = "".join(
            bar(RESOURCES[k], n, have[k], f"{n:,} of {have[k]:,} ({100 * n / have[k]:.0f} %)")
            for k, n in used.items()
            if have.get(k)
        )
        parts.append(f"<h3>{esc(build.device)}</h3>{bars}")
    elif used:
        listed = "".join(
            f"<div><dt>{RESOURCES[k]}</dt><dd>{n:,}</dd></div>" for k, n in used.items()
        )
        note = "Estimated by synthesis alone, without placement: counts, and no share of a device."
        parts.append(
            f'<h3>{esc(build.device)}</h3><p class="note">{note}</p><dl class="pairs">{listed}</dl>'
        )
    parts.append(_speed(page))
    return section("Hardware", "".join(parts) or "<p>Not synthesized.</p>")


def _speed(page: Page) -> str:
    build, parts = page.build, []
    asked, used = build.clock_mhz, build.implementation
    fmax = used.fmax_mhz if used else None
    if fmax and asked:
        limit = 1.1 * max(fmax, asked)
        text = f"{fmax:.1f} MHz reached, {asked:g} asked (tick)"
        parts.append(f"<h3>Clock</h3>{bar('Highest (Fmax)', fmax, limit, text, mark=asked)}")
    bound = build.bottleneck
    parts.append("<h3>Cycles for one inference</h3>")
    cycles = page.cycles_per_inference
    limit = 1.1 * max(cycles or 0, bound.cycles)
    parts.append(bar("By the plan", bound.cycles, limit, f"{bound.cycles:,}"))
    if cycles:
        over = 100 * (cycles / bound.cycles - 1)
        parts.append(bar("Measured", cycles, limit, f"{cycles:,.1f} ({over:+.1f} %)"))
    latency = f" Latency of the first result: {page.latency:,} cycles." if page.latency else ""
    parts.append(
        f'<p class="note">Bottleneck: {esc(bound.name)}, {esc(bound.why)}.{esc(latency)}</p>'
    )
    return "".join(parts)


def _files(page: Page) -> str:
    links = "".join(f"<li>{link(href, text)}</li>" for text, href in page.links.items())
    rows = "".join(
        f"<div><dt>{esc(k)}</dt><dd>{esc(v)}</dd></div>" for k, v in page.provenance.items()
    )
    return section("Files", f'<ul class="links">{links}</ul>') + section(
        "Made with", f'<dl class="pairs">{rows}</dl>'
    )
