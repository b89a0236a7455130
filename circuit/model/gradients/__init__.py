"""Gradients at taps, linear forms of the tail, and training of lenses."""
