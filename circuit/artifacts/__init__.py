"""Every file format that circuit reads or writes, and nothing else."""
