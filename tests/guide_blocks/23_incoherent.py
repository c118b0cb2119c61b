config = GenerationConfig(
    temperature=0.6,
    top_k=40,
    top_p=0.8,
    max_new_tokens=100
)
