"""One module for each command. What is slow to load is imported inside the command, so that ``--help`` is instant."""
