"""Narrow accumulators: how wide sums may be, and weights and scales with which they are."""
