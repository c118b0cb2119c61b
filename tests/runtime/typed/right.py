"""A user's program over the whole surface of the library. Type checkers find no fault with it."""

import asyncio
from pathlib import Path
from typing import Unpack

import llmbuilder as lb
from llmbuilder.inference import GenerationConfig, TextGenerator

BUNDLE = Path("bundle")


def calls() -> list[str]:
    text = lb.generate_text(BUNDLE, prompt="a", max_new_tokens=3, temperature=1, stop_strings="\n")
    texts = lb.batch_generate("bundle", None, ["a", "b"], stop_strings=["</s>", "\n\n"], batch_size=2)
    pieces = lb.stream_generate(BUNDLE, "tokenizer", "a", top_k=None, seed=None)
    lb.interactive_cli(BUNDLE, device="cpu", threads=2, config=GenerationConfig(seed=1))
    return [text, *texts, *pieces]


def configs() -> GenerationConfig:
    lists = GenerationConfig(
        stop_strings=["</s>", "\n\n"], eos_token_id=[1, 2], exponential_decay_length_penalty=[1, 1.1]
    )
    tuples = GenerationConfig(
        stop_strings=("</s>",), eos_token_id=(1, 2), exponential_decay_length_penalty=(1, 1.1)
    )
    single = GenerationConfig(stop_strings="</s>", eos_token_id=3, logit_bias={5: 1}, early_stopping="never")
    stops: tuple[str, ...] | None = single.stop_strings
    return GenerationConfig.merge(lists, tuples, single, {"seed": 3, "stop_strings": stops})


def generator() -> str:
    with TextGenerator(BUNDLE, config=GenerationConfig(max_new_tokens=5), stop_strings=["x"]) as opened:
        text: str = opened.generate("a", configs(), context_overflow="stop", logprobs=3)
        completions: list[lb.Completion] = opened.complete([1, 2, 3], num_return_sequences=2)
        opened.complete_batch(["a", [1]], [{"seed": 1}, None], do_sample=False, num_beams=2)
        score: lb.Score = opened.score("a")
        return text + completions[0].text + "".join(opened.stream("a", seed=1)) + str(score.perplexity)


def passed_on(prompt: str, **options: Unpack[lb.GenerationOptions]) -> str:
    return lb.generate_text(BUNDLE, prompt=prompt, **options)


def classes() -> None:
    with lb.ChatInterface(BUNDLE, system_prompt="Be brief.", temperature=0.5) as chat:
        turns = [{"user": "a", "assistant": "b"}]
        reply: str = chat.respond("a", turns, max_new_tokens=20)
        turns.append({"user": "a", "assistant": reply})
    lb.InteractiveGenerator(BUNDLE, seed=1).generate("a", seed=2)
    words = lb.ConstrainedGenerator(BUNDLE, required_words=["a"], max_length=20, temperature=0.5)
    words.generate("a", max_length=30, stop_strings=["x"])
    for _, answer in words.complete_each([("a", None), ("b", {"seed": 1})], batch_size=2):
        print(answer if isinstance(answer, lb.LLMBuilderError) else answer[0].text)
    writer = lb.CreativeWriter(BUNDLE, style="creative", top_p=0.5)
    writer.with_options(seed=2).continue_story("a", length=30)
    report: lb.FilterReport = lb.OutputFilter.check("a", {"min_length": 3})
    evaluation = lb.evaluate_generation("a", prompt="b")
    best = lb.compare_generations(
        BUNDLE, prompt="a", configs=[{"seed": 1}, configs()], seed=1, max_new_tokens=5
    )
    print(report.passed, evaluation, best[0].avg_quality, lb.__version__)


async def tasks() -> str:
    async with lb.AsyncTextGenerator(BUNDLE, max_rows=4, seed=1) as opened:
        pieces = [piece async for piece in opened.stream("a", max_new_tokens=3)]
        return await opened.generate("a", stop_strings=["x"]) + "".join(pieces)


def main() -> None:
    try:
        print(*calls(), generator(), passed_on("a", seed=1), asyncio.run(tasks()))
    except (lb.ConfigError, lb.errors.BundleError) as error:
        print(error)
