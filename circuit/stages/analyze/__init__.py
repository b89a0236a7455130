"""``circuit analyze``: geometry of every layer and probes of the labels."""
