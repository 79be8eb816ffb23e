"""Post-training quantization: from a float ONNX model to a quantized one that others open too."""
