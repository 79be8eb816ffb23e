"""What front ends share, free of any framework."""
