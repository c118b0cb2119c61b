config = GenerationConfig(
    typical_p=0.95,
    eta_cutoff=1e-4,
    epsilon_cutoff=1e-4,

    repetition_penalty=1.1,
    no_repeat_ngram_size=3,
    encoder_repetition_penalty=1.0,

    length_penalty=1.0,
    exponential_decay_length_penalty=None,

    num_beam_groups=1,
    diversity_penalty=0.0,

    max_time=None,
    stop_strings=["</s>", "\n\n"],
)
