"""The hardware of operators."""
