"""`hazards`: counts on real data, and a run again for each place without its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import batch_size, by_name, piece_of
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph
from hwsim.losses.count import Count, Extent
from hwsim.losses.inputs import InputSite
from hwsim.losses.named import named
from hwsim.losses.report import Effect, Hazard, Hazards
from hwsim.losses.sites import Seen, Site
from hwsim.losses.table import sites_of

EFFECT_SAMPLES = 1000
"""Samples on which effects are measured, unless told otherwise."""

MOST_RERUNS = 100
"""Places whose effect is measured: those where most happened."""

Say = Callable[[str], None]


def find(
    graph: Graph,
    x: Any,
    *,
    effect_samples: int = EFFECT_SAMPLES,
    say: Say | None = None,
) -> Hazards:
    """Count on a batch what each place of a graph loses, and measure what that does.

    `x` is `(batch, *shape)` as `emulate` takes it, or a dict by input name. Raises HwsimError for a
    graph with state, and for what `emulate` refuses.
    """
    arrays = checked(graph, x)
    sites, unknown = all_sites(graph)
    counts = count(graph, sites, arrays, say)
    lossy = [(site, c) for site, c in zip(sites, counts, strict=True) if c.events]
    lossy.sort(key=lambda pair: (-pair[1].overflows, -pair[1].rounded))
    trial = Rerun.of(graph, arrays, effect_samples)
    rows = []
    for place, (site, found) in enumerate(lossy):
        if say is not None:
            say(f"without the losses of {site.name}, {place + 1} of {len(lossy)}")
        effect: Effect | None = None
        why: str | None = f"only the {MOST_RERUNS} places where most happens are run again"
        if place < MOST_RERUNS:
            effect, why = trial.without(site, found)
        rows.append(_row(site, found, effect, why))
    rows.sort(key=lambda row: row.weight, reverse=True)
    return Hazards(
        samples=batch_size(arrays),
        sites=len(sites),
        rows=tuple(rows),
        named=tuple(named(graph, rows)),
        unknown=tuple(unknown),
    )


def checked(graph: Graph, x: Any) -> dict[str, Any]:
    """The arrays of a batch by input name; HwsimError for a graph with state."""
    if graph.state:
        raise HwsimError(
            "hazards must be looked for in a model that answers once a sample, not in one with "
            "state"
        )
    arrays = by_name(graph, x)
    batch_size(arrays)
    return arrays


def all_sites(graph: Graph) -> tuple[list[Site], list[str]]:
    """Those of the inputs, then those of the nodes; kinds of operators without a rule."""
    inputs: list[Site] = [InputSite.of(port) for port in graph.inputs]
    nodes, unknown = sites_of(graph)
    return inputs + nodes, unknown


def count(
    graph: Graph, sites: Sequence[Site], arrays: Mapping[str, Any], say: Say | None = None
) -> list[Count]:
    """What happens at each site over a whole batch, in pieces of bounded memory."""
    emulator, samples = planned(graph), batch_size(arrays)
    totals = [Count() for _ in sites]
    step = max(1, piece_of(graph) * 4 // max(4, len(graph.types())))
    for start in range(0, samples, step):
        if say is not None:
            say(f"counting, {start:,} of {samples:,} samples")
        piece = {name: array[start : start + step] for name, array in arrays.items()}
        run = emulator.run(emulator.encode(piece), keep=True)
        codes = {edge: np.asarray(array).astype(np.int64) for edge, array in run.items()}
        seen = Seen(codes, piece)
        totals = [t + site.count(seen) for t, site in zip(totals, sites, strict=True)]
    return totals


@dataclass(frozen=True, slots=True)
class Rerun:
    """Some samples, and what the graph as it is makes of them."""

    graph: Graph
    arrays: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @classmethod
    def of(cls, graph: Graph, arrays: Mapping[str, Any], samples: int) -> Rerun:
        """On at most so many samples, evenly over the batch."""
        if samples < 1:
            raise HwsimError(f"effect_samples must be at least 1, not {samples}")
        count = batch_size(arrays)
        places = np.unique(np.arange(min(samples, count)) * count // min(samples, count))
        some = {name: np.asarray(array[places]) for name, array in arrays.items()}
        return cls(graph, some, _outputs(graph, some))

    def without(self, site: Site, found: Count) -> tuple[Effect | None, str | None]:
        """The effect of what a site loses, or why it cannot be measured."""
        why = "nothing wider is known"
        for into in wider(site, found):
            try:
                other = _outputs(site.widened(self.graph, into), self.arrays)
            except HwsimError as error:
                why = str(error)
                continue
            return self._compared(other), None
        return None, why

    def _compared(self, other: Mapping[str, Any]) -> Effect:
        pairs = [(self.outputs[name], other[name]) for name in self.outputs]
        # Scores have one axis: where a map is largest means nothing.
        scores = [(a, b) for a, b in pairs if a[0].size == max(a.shape[1:], default=0) > 1]
        moved = [_largest(a) != _largest(b) for a, b in scores]
        return Effect(
            samples=len(pairs[0][0]),
            codes=sum(a.size for a, _ in pairs),
            changed=sum(int(np.count_nonzero(a != b)) for a, b in pairs),
            picked=int(np.count_nonzero(np.any(moved, axis=0))) if moved else None,
        )


def _largest(scores: Any) -> Any:
    return scores.reshape(len(scores), -1).argmax(axis=1)


def _outputs(graph: Graph, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What each output shows, in float64 where its codes are powers of two times reals."""
    emulator = planned(graph)
    found = emulator.run_chunked(emulator.encode(dict(arrays)))
    out = {}
    for port in graph.outputs:
        kind = graph.types()[port.tensor]
        codes = np.asarray(found[port.tensor]).astype(np.float64)
        out[port.name] = (codes - kind.zero_point) * np.array(kind.scales())
    return out


def wider(site: Site, found: Count) -> Iterator[Format]:
    """Formats that lose nothing on the data, then those that at least hold its ends."""
    extent, into = found.extent, site.into
    if extent is None:
        return
    signed = into.format.signed
    if into.overflow is Overflow.SAT_SYM and (signed or extent.low < 0):
        extent = extent | Extent(-extent.high, -extent.low, extent.grain)
    if site.keeps_fraction:
        yield extent.format(signed=signed)
    if found.overflows:
        yield extent.format(into.format.frac_bits, signed=signed)


def _row(site: Site, found: Count, effect: Effect | None, why: str | None) -> Hazard:
    return Hazard(
        name=site.name,
        edge=site.edge,
        what=site.what,
        into=site.into,
        count=found,
        needed=next(wider(site, found), None),
        proven=site.proven(),
        effect=effect,
        unmeasured=why,
    )
