"""Prompts that come while others run, some of them long, some cancelled, say what each says alone, bit for bit."""

import queue
import threading

import numpy as np
import pytest

from llmbuilder import TextGenerator

WAYS = (
    {"do_sample": False},
    {},
    {"num_return_sequences": 3, "top_p": 0.95},
    {"do_sample": False, "num_beams": 3},
    {"do_sample": False, "num_beams": 6},
    {"do_sample": False, "prompt_lookup_num_tokens": 4},
)
ROWS = 4
CHUNK_TURNS = 3
"""The thread feeds one prompt for so many turns of the loop."""


class Fed:
    """Prompts of random ids with options in turn; every eighth is long, every seventh is cancelled."""

    def __init__(self, generator, count, long):
        random = np.random.default_rng(5)
        vocab = generator.tokenizer.vocab_size
        self.generator = generator
        self.cancelled = set(range(3, count, 7))
        self.prompts = []
        self.options = []
        for n in range(count):
            length = long if n % 8 == 4 else int(random.integers(1, 24))
            self.prompts.append(random.integers(vocab, size=length).tolist())
            way = WAYS[n % len(WAYS)]
            self.options.append(
                {
                    "seed": n,
                    "max_new_tokens": int(random.integers(2, 14)),
                    "early_stopping": False,
                    "logprobs": 1,
                    **way,
                }
            )

    def alone(self, n):
        completions = self.generator.complete(self.prompts[n], **self.options[n])
        return [(c.text, c.token_ids, c.logprobs) for c in completions]

    def together(self):
        """Completions by number, and what the pieces of each joined are."""
        fed = queue.SimpleQueue()
        more = threading.Semaphore(ROWS)

        def feed():
            for n, (prompt, options) in enumerate(zip(self.prompts, self.options, strict=True)):
                more.acquire()
                fed.put(self.generator.group(prompt, tag=n, **options))

        threading.Thread(target=feed, daemon=True).start()
        loop = self.generator.loop(ROWS)
        groups, pieces, turns = {}, {}, 0
        while len(groups) < len(self.prompts) or not loop.idle:
            if loop.idle and fed.empty():
                more.release()
            while len(groups) < len(self.prompts) and (loop.idle or not fed.empty()):
                group = fed.get()
                groups[group.tag] = group
                pieces[group.tag] = []
                loop.add(group)
            for group in loop.advance():
                pieces[group.tag] += group.pieces()
                if group.tag in self.cancelled and pieces[group.tag]:
                    loop.cancel(group)
            turns += 1
            if turns % CHUNK_TURNS == 0:
                more.release()
        return groups, pieces


@pytest.fixture(scope="module")
def fed(smollm2, proving):
    with TextGenerator(smollm2("int8").bundle) as generator:
        yield Fed(generator, *((160, 2500) if proving else (18, 400)))


def test_every_text_is_that_of_the_prompt_alone(fed, record_proof):
    groups, pieces = fed.together()
    different = []
    for n, group in groups.items():
        completions = group.completions()
        if n in fed.cancelled and completions[0].finish_reason == "cancelled":
            continue
        told = [(c.text, c.token_ids, c.logprobs) for c in completions]
        joined = []
        for k in range(len(completions)):
            mine = [piece for piece in pieces[n] if piece.sequence == k]
            text, ids = "".join(p.text for p in mine), sum((p.token_ids for p in mine), ())
            joined.append((text, ids, sum((p.logprobs for p in mine), ())))
        if not told == joined == fed.alone(n):
            different.append(n)
    record_proof(
        "Prompts fed by a thread while others run, SmolLM2 int8",
        prompts=len(groups),
        longest_prompt=max(map(len, fed.prompts)),
        cancelled=len(fed.cancelled),
        different=len(different),
    )
    assert different == []
