"""What is traced: torch modules whose attention is one operator with its cache."""
