"""A checkpoint: its files, identity, weights, family, and the loaded network with its taps."""
