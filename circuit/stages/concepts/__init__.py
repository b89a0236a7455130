"""``circuit concepts``: a library of concept directions, tried and scanned."""
