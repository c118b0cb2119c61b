"""Servers as processes of their own, and the clients that load them."""
