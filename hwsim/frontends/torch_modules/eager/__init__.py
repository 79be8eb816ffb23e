"""Modules of `torch.ao.nn.quantized` and quantized operators, with the integers of an engine."""
