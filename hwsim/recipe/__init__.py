"""A recipe: steps that make a small integer network, chained, resumable, with a report."""
