"""Sets of nodes that keep a behaviour."""
