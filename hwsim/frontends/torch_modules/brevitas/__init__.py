"""Modules that Brevitas has quantized, read as the QONNX model that they stand for."""
