"""Where a model loses numbers on real data: wraps, saturations, bits that are rounded away."""
