"""What ONNX Runtime does to a quantized model and how it computes it, and what is said of it."""
