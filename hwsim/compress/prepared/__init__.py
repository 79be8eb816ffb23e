"""A float ONNX graph in the form that quantizers are put into."""
