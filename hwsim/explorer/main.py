"""The adapter that Model Explorer loads: `model-explorer MODEL --extensions=hwsim.explorer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from model_explorer import Adapter, AdapterMetadata, ModelExplorerGraphs, graph_builder

from hwsim.explorer.model_graph import GRAPH_ID, explorer_nodes
from hwsim.frontends import FILES, load


class HwsimAdapter(Adapter):
    """Shows a model as the graph of integer operators that hwsim computes."""

    metadata: ClassVar[Any] = AdapterMetadata(
        id="hwsim",
        name="hwsim",
        description="Integer operators with formats, ranges, scales and rounding, as in hardware.",
        source_repo="",
        fileExts=[suffix.removeprefix(".") for suffix in FILES],
    )

    def convert(self, model_path: str, settings: dict[str, Any]) -> ModelExplorerGraphs:
        """The Graph in a model file."""
        nodes = explorer_nodes(load(Path(model_path)))
        return {"graphs": [graph_builder.Graph(id=GRAPH_ID, nodes=nodes)]}
