"""Many requests at once: a thread that decodes, lanes that lead to it, and asyncio's side of both."""
