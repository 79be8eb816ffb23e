"""Whether this installation can do its work: checks, and trials of the tools."""
