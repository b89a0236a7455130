"""Linear probes, their controls, and what a result may be called."""
