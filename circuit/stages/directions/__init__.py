"""``circuit directions``: fit, compare, show and transfer directions."""
