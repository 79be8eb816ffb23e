"""PyTorch modules in memory: quantized by Brevitas, or by PyTorch's eager and FX quantization."""
