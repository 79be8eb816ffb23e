"""ONNX: quantized models as ONNX Runtime computes them, and QONNX."""
