"""A loaded model: ONNX Runtime's session, the KV cache, and the registry that loads each model once."""
