"""A Graph as an ONNX file that other tools open, with the same integers."""

from hwsim.onnx_export.model import FORMS, SAMPLES, to_model, write_model

__all__ = ["FORMS", "SAMPLES", "to_model", "write_model"]
