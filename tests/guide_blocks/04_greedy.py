config = GenerationConfig(
    do_sample=False,
    temperature=1.0,
    top_k=None,
    top_p=None
)

text = lb.generate_text(
    model_path="./model/model.pt",
    tokenizer_path="./tokenizer",
    prompt="Machine learning is",
    config=config
)
