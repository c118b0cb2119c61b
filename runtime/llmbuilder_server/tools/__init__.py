"""Functions that a model may call: read from a request, said by constraint, found in the answer."""
