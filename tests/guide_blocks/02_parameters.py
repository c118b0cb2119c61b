from llmbuilder.inference import GenerationConfig

config = GenerationConfig(
    max_new_tokens=100,
    min_new_tokens=10,
    max_length=1024,

    temperature=0.8,
    top_k=50,
    top_p=0.9,
    repetition_penalty=1.1,

    pad_token_id=0,
    eos_token_id=2,
    bos_token_id=1,

    do_sample=True,
    num_beams=1,
    early_stopping=True
)
