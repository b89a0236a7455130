"""``circuit export`` and ``circuit import``: steering files of other programs."""
