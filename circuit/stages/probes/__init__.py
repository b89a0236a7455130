"""``circuit probes``: batteries of probes over the layers of a model."""
