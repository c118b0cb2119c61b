conservative_config = GenerationConfig(
    temperature=0.3,
    do_sample=True
)

balanced_config = GenerationConfig(
    temperature=0.8,
    do_sample=True
)

creative_config = GenerationConfig(
    temperature=1.5,
    do_sample=True
)
