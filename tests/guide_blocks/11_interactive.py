from llmbuilder.inference import InteractiveGenerator

generator = InteractiveGenerator(
    model_path="./model/model.pt",
    tokenizer_path="./tokenizer",
    config=GenerationConfig(
        temperature=0.8,
        top_k=50,
        max_new_tokens=150
    )
)

generator.start_session()

while True:
    prompt = input("You: ")
    if prompt.lower() == 'quit':
        break

    response = generator.generate(prompt)
    print(f"AI: {response}")
