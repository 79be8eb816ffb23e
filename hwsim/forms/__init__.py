"""Integer forms of requantizers and adds, proved equal to what they stand for."""
