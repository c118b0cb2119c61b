config = GenerationConfig(
    repetition_penalty=1.2,
    no_repeat_ngram_size=3,
    temperature=0.9,
    top_p=0.9
)
