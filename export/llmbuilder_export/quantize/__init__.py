"""Weights in 8 or 4 bits: found in the graph, rounded in blocks, measured on text of the model's own."""
