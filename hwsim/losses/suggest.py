"""`suggest`: the narrowest precisions of hls4ml that lose nothing on some data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph
from hwsim.losses.casts import TABLES, IndexSite
from hwsim.losses.count import Count, Extent, Into
from hwsim.losses.declared import declared
from hwsim.losses.find import Say, all_sites, checked, count, wider
from hwsim.losses.parts import Parts
from hwsim.losses.report import precision_text
from hwsim.losses.sites import Site
from hwsim.losses.suggestion import Suggestion
from hwsim.ops import Stepwise, Weighted

INTERVALS = "intervals"
"""The margin that holds whatever the intervals prove."""


def suggest(
    graph: Graph,
    x: Any,
    *,
    margin: int | str = 0,
    overflow_only: bool = False,
    names: Mapping[str, str] | None = None,
    say: Say | None = None,
) -> Suggestion:
    """The narrowest precisions that remove the hazards of a graph that came from hls4ml.

    `x` is as `hazards` takes it. `margin` is how many integer bits more there shall be than the
    data need, or `intervals` for those of the worst case. With `overflow_only` roundings stay;
    those of the inputs always do, since reals have more digits than any type. `names` are those of
    layers by the edges that they give, where they are others. Raises HwsimError for a graph that
    did not come from hls4ml.
    """
    _check(graph, margin)
    search = Widening(declared(graph), checked(graph, x), margin, overflow_only, names or {})
    while search.step(say):
        pass
    return Suggestion(search.graph, {"LayerName": search.config}, list(search.left.values()))


def _check(graph: Graph, margin: int | str) -> None:
    whole = isinstance(margin, int) and not isinstance(margin, bool) and margin >= 0
    if not whole and margin != INTERVALS:
        raise HwsimError(
            f"margin must be a number of bits from 0 on or {INTERVALS!r}, not {margin!r}"
        )
    sums = [node.op for node in graph.nodes if isinstance(node.op, Weighted)]
    stepwise = all(isinstance(op.accumulator, Stepwise) for op in sums)
    plain = all(kind.quant is None for kind in graph.types().values())
    if not (plain and stepwise):
        raise HwsimError(
            "suggestions must be for a model that came from hls4ml, whose precisions they are, not "
            "for one of another source"
        )


def _bad(site: Site, found: Count, overflow_only: bool) -> bool:
    """Whether something is to be removed: a table's index that stops at its ends is not."""
    if site.what == "index":
        return found.wrapped > 0
    rounds = found.rounded > 0 and site.what != "input" and not overflow_only
    return found.overflows > 0 or rounds


Setting = Mapping[str, tuple[str, ...]]
"""The precisions of hls4ml that set a place, by layer; none where nothing does."""

Outcome = tuple[Graph | None, str, Setting] | str
"""A wider graph, the precision that makes it so and where that is set; or why there is none.

Without a graph the precision is for the next conversion, which makes tables anew.
"""

AGAIN = (
    "what stands behind it was counted with the old one, since tables are made of it: convert, and "
    "suggest again"
)


@dataclass(slots=True)
class Widening:
    """What has been widened so far, and what is left."""

    graph: Graph
    arrays: Mapping[str, Any]
    margin: int | str
    overflow_only: bool
    names: Mapping[str, str]
    config: dict[str, Any] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def step(self, say: Say | None) -> bool:
        """Widen the first place that loses something; whether there was one."""
        sites, _ = all_sites(self.graph)
        found = count(self.graph, sites, self.arrays, say)
        for site, lost in zip(sites, found, strict=True):
            if site.name in self.left or not _bad(site, lost, self.overflow_only):
                continue
            parts = Parts.of(site, sites)
            if isinstance(site, IndexSite) and "/" in site.name:
                outcome = _softmax(self.graph, site, lost, sites, self.margin)
            else:
                whole = sum(
                    (c for s, c in zip(sites, found, strict=True) if s in parts.sites), lost
                )
                outcome = self._widened(parts, whole)
            self._take(outcome, parts)
            return True
        return False

    def _take(self, outcome: Outcome, parts: Parts) -> None:
        """Keep what a step found."""
        if isinstance(outcome, str):
            name = parts.sites[0].name
            self.left[name] = f"{name}: {outcome}"
            return
        graph, precision, setting = outcome
        for layer, types in setting.items():
            known = self.names.get(layer, layer)
            precisions = self.config.setdefault(known, {"Precision": {}})["Precision"]
            precisions |= dict.fromkeys(types, precision)
        if graph is not None:
            self.graph = graph
            return
        shown = ", ".join(setting)
        self.left |= {site.name: f"{shown}: {AGAIN}" for site in parts.sites}

    def _widened(self, parts: Parts, found: Count) -> Outcome:
        """Without the losses of all places that share a precision."""
        site, why = parts.sites[0], "nothing wider is known"
        if not any(parts.setting(self.graph).values()):
            return "no precision is suggested for it, which is a part of a layer that shares one"
        if parts.rounds and not found.overflows:
            return "what it rounds stays: each step would need twice as many bits to lose none"
        keeps = self.overflow_only or parts.rounds
        formats = _formats(site, found, self.margin, keeps)
        setting, tabled = parts.setting(self.graph), None
        for into in formats:
            precision = _text(into, site.into)
            if parts.recurrent:
                return None, precision, setting
            try:
                other = parts.widened(self.graph, into)
                planned(other)
            except HwsimError as error:
                tabled = tabled or (precision if _before_table(self.graph, site) else None)
                why = f"a wider one does not fit what reads it ({error})"
                continue
            return other, precision, setting
        return why if tabled is None else (None, tabled, setting)


def _before_table(graph: Graph, site: Site) -> bool:
    """Whether a table reads what is assigned, before another assignment."""
    edges = [site.edge]
    while edges:
        for reader in graph.consumers(edges.pop()):
            if reader.op.kind in TABLES:
                return True
            if reader.op.kind not in ("cast", "dense", "conv1d", "conv2d"):
                edges += reader.outputs
    return False


def _softmax(
    graph: Graph, site: IndexSite, found: Count, sites: Sequence[Site], margin: int | str
) -> Outcome:
    """A softmax whose differences wrap: their type is made of its input's, which gets wider.

    The graph's differences stop at the end of their type instead: its tables are of the old one.
    """
    maker = graph.makers().get(site.cast.source)
    before = [s for s in sites if maker is not None and s.edge == maker.inputs[-1]]
    if not before or maker is None or maker.op.kind != "sub" or found.extent is None:
        return "it wraps, and no precision is suggested for it"
    held, more = before[0].into.format, margin if isinstance(margin, int) else 0
    extent = site.proven() if margin == INTERVALS else found.extent
    whole = (extent | Extent(Fraction(0), Fraction(0), None)).format(0).int_bits + 1 + more
    into = Format(True, max(held.int_bits, whole), held.frac_bits)
    try:
        other = site.widened(before[0].widened(graph, into), into)
        planned(other)
    except HwsimError as error:
        return str(error)
    return other, _text(into, before[0].into), Parts.of(before[0], sites).setting(graph)


def _formats(site: Site, found: Count, margin: int | str, overflow_only: bool) -> Sequence[Format]:
    """The narrowest first; then those that hold all ends, and round as before."""
    formats = list(wider(site, found))
    keeps = overflow_only or site.what == "input"
    if keeps and site.keeps_fraction:
        formats = formats[1:]
    if margin == INTERVALS:
        proven = site.proven()
        return [fmt if proven is None else _holding(fmt, proven) for fmt in formats]
    assert isinstance(margin, int)
    return [Format(fmt.signed, fmt.int_bits + margin, fmt.frac_bits) for fmt in formats]


def _holding(fmt: Format, proven: Extent) -> Format:
    """A format with the integer bits for all that is proven."""
    least = proven.format(fmt.frac_bits, signed=fmt.signed)
    signed = fmt.signed or least.signed
    whole = max(least.int_bits, fmt.int_bits + (signed and not fmt.signed))
    return Format(signed, whole, fmt.frac_bits)


def _text(fmt: Format, modes: Into) -> str:
    plain = (modes.rounding, modes.overflow) == (Rounding.TRN, Overflow.WRAP)
    text = precision_text(fmt)
    return text if plain else f"{text[:-1]},{modes.rounding.value},{modes.overflow.value}>"


def merged(config: Mapping[str, Any], suggestion: Suggestion) -> dict[str, Any]:
    """An HLSConfig with the precisions of a suggestion in the place of its own."""
    layers = {name: dict(given or {}) for name, given in (config.get("LayerName") or {}).items()}
    for name, given in suggestion.config["LayerName"].items():
        layer = layers.setdefault(name, {})
        held = layer.get("Precision")
        before = dict(held) if isinstance(held, Mapping) else {"default": held} if held else {}
        layer["Precision"] = before | given["Precision"]
    return {**config, "LayerName": layers}
