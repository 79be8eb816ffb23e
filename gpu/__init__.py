"""The GPU half of hwsim: a Graph run with CuPy."""
