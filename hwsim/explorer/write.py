"""A folder with a graph file and node data files, for Model Explorer to open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.explorer.data import node_data
from hwsim.explorer.model_graph import collection
from hwsim.graph import Graph
from hwsim.storage import write_atomically

GRAPH_FILE = "graph.json"


def write_folder(graph: Graph, label: str, folder: Path, **given: Any) -> dict[str, Any]:
    """Write `graph.json` and a file for each of the node data; their paths, and what opens them.

    The keywords are those of `node_data`; nothing is written where they do not fit.
    """
    made = {GRAPH_FILE: collection(graph, label)}
    made |= {f"{key}.json": data for key, data in node_data(graph, **given).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HwsimError(f"{folder} must be a folder to write into ({error.strerror})") from None
    for name, content in made.items():
        write_atomically(folder / name, json.dumps(content, indent=1).encode())
    data = [str(folder / name) for name in made if name != GRAPH_FILE]
    opens = f"model-explorer {folder / GRAPH_FILE} --node_data_paths={','.join(data)}"
    return {"graph": str(folder / GRAPH_FILE), "data": data, "next": opens}
