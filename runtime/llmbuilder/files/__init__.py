"""Whole files of prompts, completed and resumed."""
