"""OpenVINO: its IR files, its models in memory, and what its CPU plugin makes of ONNX files."""
