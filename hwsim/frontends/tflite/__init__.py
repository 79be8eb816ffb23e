"""TensorFlow Lite: int8 models with the integers of a kernel set of its runtimes."""
