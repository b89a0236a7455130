"""Values that several layers share; standard library only."""
