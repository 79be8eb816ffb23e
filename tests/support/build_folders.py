"""Build folders without a build: what a reader needs of one, of any Graph."""

from __future__ import annotations

from pathlib import Path

from hwsim.build_folder import MODEL, Hashes, Manifest, StreamPort
from hwsim.graph import Graph


def write_folder(folder: Path, graph: Graph, *, plan: str = "of no plan") -> Manifest:
    """Write the Graph and a manifest whose Verilog is not there; gives the manifest."""
    graph.save(folder / MODEL)

    def port(name: str, prefix: str, tensor: str) -> StreamPort:
        kind = graph.types()[tensor]
        return StreamPort(
            name=name,
            prefix=prefix,
            shape=kind.shape,
            bits=kind.format.width,
            signed=kind.format.signed,
            lanes=1,
            lane_bits=-(-kind.format.width // 8) * 8,
        )

    manifest = Manifest(
        folder=folder,
        top="hwsim_top",
        sources=(folder / "hwsim_top.v",),
        memories=(),
        clock="clk",
        reset="rst",
        inputs=tuple(port(p.name, "s_axis", p.tensor) for p in graph.inputs),
        outputs=tuple(port(p.name, "m_axis", p.tensor) for p in graph.outputs),
        model=folder / MODEL,
        hashes=Hashes(graph=graph.hash(), plan=plan),
    )
    manifest.write()
    return manifest
