config = GenerationConfig(
    max_new_tokens=50,
    do_sample=False,
    use_cache=True,
    batch_size=1
)

device = "cuda" if torch.cuda.is_available() else "cpu"
