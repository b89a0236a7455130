"""Held-out quality of directions: cross-fitting, stability, transfer."""
