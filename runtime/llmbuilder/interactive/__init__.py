"""Sessions: somebody types, a model answers."""
