"""Lenses: what the model would predict if it stopped after a block."""
