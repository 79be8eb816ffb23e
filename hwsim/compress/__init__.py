"""From a float network to a small integer one: each step lands in the same Graph."""
