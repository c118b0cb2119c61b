"""Look at a ``tokenizer.json`` before the library of that name does: known components, and nothing that grows."""
