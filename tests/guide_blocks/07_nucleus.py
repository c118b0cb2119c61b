config = GenerationConfig(
    do_sample=True,
    temperature=0.8,
    top_k=None,
    top_p=0.9
)
