"""What tests share: cases, oracles, benches, makers of models."""
