"""``circuit evaluate``: questions and steering vectors in, answers and measures out."""
