"""Inputs that nobody would write, made from a number, and what comes of them; run by ``scripts/fuzz.py``."""
