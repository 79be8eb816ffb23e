"""A Graph in a notebook: the picture that the report draws, in the notebook's own colours."""

from __future__ import annotations

from hwsim.graph import Graph
from hwsim.reporting import picture
from hwsim.reporting.markup import esc

# A notebook's theme is known to nobody, so all is drawn in the colour of its text.
STYLE = """
.hwsim-graph { overflow: auto; max-height: 720px; }
.hwsim-graph .card {
  fill: currentColor; fill-opacity: .07; stroke: currentColor; stroke-opacity: .3;
}
.hwsim-graph .port { fill: none; stroke: currentColor; stroke-opacity: .5; stroke-dasharray: 4 3; }
.hwsim-graph .wire { fill: none; stroke: currentColor; stroke-opacity: .55; stroke-width: 1.5; }
.hwsim-graph .tip { fill: currentColor; fill-opacity: .55; }
.hwsim-graph text { font: 13px system-ui, sans-serif; fill: currentColor; }
.hwsim-graph .op { font-weight: 600; }
.hwsim-graph .follower { font-weight: 400; fill-opacity: .75; }
.hwsim-graph .middle { text-anchor: middle; font-weight: 400; }
.hwsim-graph .format, .hwsim-graph .on-wire {
  font: 12px ui-monospace, monospace; text-anchor: end; white-space: pre; fill-opacity: .8;
}
"""


def graph_html(graph: Graph) -> str:
    """A `<div>` of one line about the graph and its picture, which scrolls where it is large."""
    return (
        f'<div class="hwsim-graph"><style>{STYLE}</style><code>{esc(repr(graph))}</code>'
        f"<div>{picture.draw(graph)}</div></div>"
    )
