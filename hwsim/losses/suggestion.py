"""What `suggest` gives: precisions by layer, and the graph that has them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hwsim.graph import Graph


@dataclass(slots=True)
class Suggestion:
    """Precisions by layer and type, the graph that has them, and what they leave.

    `config` is a part of an HLSConfig: `LayerName`, the layers, `Precision`. `left` are sentences
    about places that still lose something. The tables of a softmax that wrapped are still the old
    ones in `graph`; a conversion makes them anew.
    """

    graph: Graph
    config: dict[str, dict[str, dict[str, dict[str, str]]]]
    left: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        layers = self.config["LayerName"]
        count = sum(len(one["Precision"]) for one in layers.values())
        rest = f", {len(self.left)} places left" if self.left else ""
        return f"Suggestion({count} precisions of {len(layers)} layers{rest})"

    @property
    def yaml(self) -> str:
        """The configuration as YAML."""
        lines = ["LayerName:"] if self.config["LayerName"] else ["LayerName: {}"]
        for layer, given in self.config["LayerName"].items():
            lines += [f"  {_key(layer)}:", "    Precision:"]
            lines += [f"      {name}: {text}" for name, text in given["Precision"].items()]
        return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)
