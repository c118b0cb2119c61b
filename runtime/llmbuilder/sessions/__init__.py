"""Sessions in a terminal or a pipe: lines, commands, and the conversation they make."""
