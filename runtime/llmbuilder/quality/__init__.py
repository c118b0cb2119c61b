"""How good are texts: measures without a model and with one, comparison of settings."""
