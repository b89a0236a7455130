"""``circuit report``: the artifacts of a run as one HTML page."""
