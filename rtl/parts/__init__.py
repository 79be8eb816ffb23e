"""Amaranth parts that know no operator."""
