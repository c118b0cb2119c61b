config = GenerationConfig(
    do_sample=True,
    temperature=0.8,
    top_k=40,
    top_p=None
)
