"""Runs a Graph on arrays, bit by bit as the hardware does."""
