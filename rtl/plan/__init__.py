"""Plans: with what hardware a Graph is computed."""
