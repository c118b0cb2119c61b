"""Ours and every CPU peer on the same weights and prompts, in one run: `python -m peers`, see `__main__`."""
