"""A user's program with mistakes, one in each line that says so. Type checkers find all of them and no other."""

import llmbuilder as lb
from llmbuilder.inference import GenerationConfig, TextGenerator


def calls() -> None:
    lb.generate_text("bundle", prompt="a", max_new_tokenz=3)  # mistake
    lb.generate_text("bundle", prompt="a", temperature="hot")  # mistake
    lb.generate_text("bundle", text="a")  # mistake
    lb.batch_generate("bundle", prompts=["a"], stop_strings=5)  # mistake
    lb.stream_generate("bundle", prompt="a", context_overflow="wrap")  # mistake
    lb.interactive_cli("bundle", sed=1)  # mistake
    lb.generate_txt("bundle", prompt="a")  # mistake


def generator() -> None:
    opened = TextGenerator("bundle")
    TextGenerator("bundle", max_new_token=3)  # mistake
    opened.generate("a", max_new_token=3)  # mistake
    opened.stream("a", seed="a")  # mistake
    opened.complete("a", logprobs=True, n=2)  # mistake
    opened.complete_batch(["a"], top_k="all")  # mistake
    opened.generate_batch(["a"], stop=["x"])  # mistake
    opened.group("a", max_new_token=1)  # mistake


def configs() -> None:
    GenerationConfig(max_tokens=1)  # mistake
    GenerationConfig(eos_token_id=["a"])  # mistake
    GenerationConfig(stop_strings=[1])  # mistake
    GenerationConfig(early_stopping="always")  # mistake
    GenerationConfig().seed.bit_length()  # mistake
    options: lb.GenerationOptions = {"sede": 1}  # mistake
    print(options)


def classes() -> None:
    lb.ChatInterface("bundle", temprature=0.5)  # mistake
    lb.ChatInterface("bundle").respond("a", max_tokens=2)  # mistake
    lb.InteractiveGenerator("bundle").generate("a", top="x")  # mistake
    lb.ConstrainedGenerator("bundle", required_words=["a"], max_length="long")  # mistake
    lb.ConstrainedGenerator("bundle", required_words=["a"]).generate("a", max_lenght=3)  # mistake
    lb.ConstrainedGenerator("bundle").complete_each(["a"])  # mistake
    lb.CreativeWriter("bundle", stil="creative")  # mistake
    lb.CreativeWriter("bundle").with_options(sed=2)  # mistake
    lb.compare_generations("bundle", prompt="a", configs=[{}], max_new_token=1)  # mistake


async def tasks() -> None:
    async with lb.AsyncTextGenerator("bundle") as opened:
        await opened.generate("a", max_new_token=1)  # mistake
        await opened.complete("a", seed=1.5)  # mistake
