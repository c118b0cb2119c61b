"""From a prompt to tokens: the loop, the strategies in it, and the rules for the next token. Knows no engine."""
