"""A Graph for Model Explorer: its nodes and edges, and data to colour the nodes by."""

from hwsim.explorer.data import node_data
from hwsim.explorer.model_graph import collection, explorer_nodes
from hwsim.explorer.write import write_folder

__all__ = ["collection", "explorer_nodes", "node_data", "write_folder"]
