"""Training of a Graph: forward the operators' own text, backward gradients straight through."""

from hwsim.compress.training.network import TrainableGraph

__all__ = ["TrainableGraph"]
