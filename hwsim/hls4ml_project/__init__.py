"""A Graph as a project of hls4ml, for the backends Vitis and Vivado."""

from hwsim.hls4ml_project.project import to_model, write_project

__all__ = ["to_model", "write_project"]
