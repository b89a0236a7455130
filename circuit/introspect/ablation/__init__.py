"""Components that an ablation removes."""
