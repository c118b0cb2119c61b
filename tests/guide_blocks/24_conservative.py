config = GenerationConfig(
    temperature=1.0,
    top_k=100,
    top_p=0.95,
    repetition_penalty=1.1
)
