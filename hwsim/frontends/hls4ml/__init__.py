"""hls4ml: its ModelGraph, with the formats that its C++ computes in."""
