"""A model on a CUDA device: memory that Python sees only as addresses, steps replayed as CUDA graphs."""
