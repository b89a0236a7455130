"""Geometry of rows, layers, weights and attention patterns."""
