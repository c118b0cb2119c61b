"""Everything that generates runs on the card, and says there what it should: the same alone and among others."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cudacheck.demo import Demo
from cudacheck.interruptions import cancelled_groups, cancelled_tasks, forked_children, streams
from cudacheck.report import Section
from cudacheck.setup import Setup, fetched, samples
from llmbuilder.chat.interface import ChatInterface
from llmbuilder.constraints.constrained import ConstrainedGenerator
from llmbuilder.engine.cuda.choice import ChoiceSessions, StepOutput
from llmbuilder.engine.cuda.place import Place
from llmbuilder.generator import TextGenerator
from llmbuilder.installed import version

Check = Callable[[Demo], None]
_LLGUIDANCE = (1, 7)
"""The lowest version that our extra takes."""


BATCHES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampled": {"seed": 7},
    "beams": {"num_beams": 4, "do_sample": False},
    "sampled beams": {"num_beams": 3, "seed": 2},
    "with penalties": {"seed": 7, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
}


def run(setup: Setup, section: Section) -> None:
    """Every check of `CHECKS` by itself, after batches in every way of choosing tokens."""
    demo = Demo(setup, section, setup.engine("demo"))
    for name, options in BATCHES.items():
        with section.attempt(f"batches, {name}"):
            demo.alone_and_together(f"batches, {name}", **options)
    for name, check in CHECKS.items():
        if section.enough(name, 1):
            with section.attempt(name):
                check(demo)


def greedy_is_the_likeliest(demo: Demo) -> None:
    """The choice made in the graph is that of whole rows."""
    ids = demo.engine.tokenizer.encode(demo.prompts[0])
    (completion,) = demo.generator.complete(ids, do_sample=False, max_new_tokens=demo.tokens)
    decoder = demo.engine.model.decoder(rows=1, capacity=len(ids) + demo.tokens)
    logits, tokens = fetched(decoder.prefill(0, ids)[0]), []
    for _ in completion.token_ids:
        tokens.append(int(logits[: demo.engine.usable_vocab].argmax()))
        logits = fetched(decoder.step(tokens[-1:])[0])
    demo.section.check("greedy tokens are those of whole rows", tuple(tokens) == completion.token_ids)


def ties(demo: Demo) -> None:
    """Of equal scores the lowest token is chosen in the graph, and rows that hold no numbers are told."""
    place = Place("cuda" if demo.setup.on_card else "cpu")
    levels = np.random.default_rng(1).normal(0, 2, (32, 1, 49_152)).round().clip(-3, 3).astype(np.float32)
    levels[3, 0, 77], levels[9, 0, 40_000], levels[20, 0, 5] = np.nan, np.inf, -np.inf
    logits = place.empty(levels.shape, np.float32)
    logits.update_inplace(levels)
    found = StepOutput(ChoiceSessions(place, levels.shape[-1]), logits, 1).likeliest()
    wanted = [int(row.argmax()) if np.isfinite(row).all() else None for row in levels[:, 0]]
    equal = int((levels[0] == levels[0].max()).sum())
    demo.section.check("the lowest of equals", found == wanted, equal_in_a_row=equal)


def samples_of_whole_rows(demo: Demo) -> None:
    """A sample of the top-k is that of whole rows, which log-probabilities need."""
    same = []
    for seed, prompt in enumerate(demo.prompts):
        options: dict[str, Any] = {"seed": seed, "max_new_tokens": demo.tokens}
        (few,), (whole,) = (demo.generator.complete(prompt, logprobs=n, **options) for n in (None, 3))
        same.append(few.token_ids == whole.token_ids)
    demo.section.check("sampled tokens are those of whole rows", all(same), texts=len(same), equal=sum(same))


def same_seed_same_text(demo: Demo) -> None:
    """Several sequences of one prompt."""
    options: dict[str, Any] = {"num_return_sequences": 3, "seed": 5, "max_new_tokens": demo.tokens}
    first, again = (demo.generator.complete(demo.prompts[1], **options) for _ in range(2))
    texts = [completion.text for completion in first]
    passed = texts == [completion.text for completion in again] and len(set(texts)) > 1
    demo.section.check("num_return_sequences=3, the same seed again", passed, different=len(set(texts)))


def sliding(demo: Demo) -> None:
    """Twice as many tokens as the window holds."""
    tokens = demo.engine.context_length * 3 // 2
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": tokens, "early_stopping": False}
    alone = [demo.generator.complete(prompt, **options)[0].token_ids for prompt in demo.prompts[:2]]
    both = demo.generator.complete_batch(demo.prompts[:2], **options)
    equal = sum(a == b.token_ids for a, (b,) in zip(alone, both, strict=True))
    passed = equal == 2 and all(len(ids) == tokens for ids in alone)
    demo.section.check("sliding beyond the window", passed, tokens=tokens, equal=equal)


def chats(demo: Demo) -> None:
    """A second turn reuses the first, and says what it would say afresh."""
    options: dict[str, Any] = {"max_new_tokens": 24, "seed": 3}
    chat, fresh = (ChatInterface(TextGenerator(demo.engine), **options) for _ in range(2))
    first = chat.respond("Tell me of a fox.")
    turns = [{"user": "Tell me of a fox.", "assistant": first}]
    before = chat.prefilled_tokens
    reply, afresh = (one.respond("And then?", turns) for one in (chat, fresh))
    computed = {"computed": chat.prefilled_tokens - before, "afresh": fresh.prefilled_tokens}
    demo.section.check("a chat's second reply is that of a fresh one", reply == afresh, **computed)


def constraints(demo: Demo) -> None:
    """Words always; grammars where llguidance is installed."""
    with demo.section.attempt("required words"):
        words = ConstrainedGenerator(TextGenerator(demo.engine), required_words=["moon"], max_length=60)
        text = words.generate(demo.prompts[0], seed=1)
        demo.section.check("required words", "moon" in text.lower())
    if (found := version("llguidance")) is None or tuple(map(int, found.split(".")[:2])) < _LLGUIDANCE:
        demo.section.leave_out("grammars", f"llguidance here is {found}")
        return
    chooser = ConstrainedGenerator(TextGenerator(demo.engine), choices=["the sea", "a red fox"])
    texts = chooser.generate_batch(demo.prompts[:4], seed=1)
    demo.section.check("choices", set(texts) <= {"the sea", "a red fox"}, texts=texts)
    pattern = ConstrainedGenerator(TextGenerator(demo.engine), regex="[a-z]{3,9}( [a-z]{2,9}){2}")
    text = pattern.generate(demo.prompts[0], seed=2)
    demo.section.check("a regular expression", len(text.split()) == 3, text=text)


def guesses(demo: Demo) -> None:
    """Tokens guessed from the prompt, several of which are computed at once."""
    prompt = f"{demo.prompts[0]} {demo.prompts[0]}"
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": demo.tokens}
    plain = demo.generator.generate(prompt, **options)
    guessed = demo.generator.generate(prompt, prompt_lookup_num_tokens=4, **options)
    demo.section.check("prompt lookup runs", passed=bool(guessed), equal_to_greedy=plain == guessed)


def scores(demo: Demo) -> None:
    """How likely a text is."""
    score = demo.generator.score(samples(1)[0]["text"])
    demo.section.check("a score is finite", bool(np.isfinite(np.array(score.logprobs, float)).all()))


CHECKS: dict[str, Check] = {
    "greedy is the likeliest": greedy_is_the_likeliest,
    "ties": ties,
    "samples of whole rows": samples_of_whole_rows,
    "several sequences": same_seed_same_text,
    "sliding": sliding,
    "chats": chats,
    "constraints": constraints,
    "streams": streams,
    "cancelled tasks": cancelled_tasks,
    "cancelled groups": cancelled_groups,
    "prompt lookup": guesses,
    "scores": scores,
    "forked children": forked_children,
}
