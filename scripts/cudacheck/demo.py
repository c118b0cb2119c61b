"""The demo model with what its checks have in common."""

from typing import Any

from cudacheck.report import Section
from cudacheck.setup import Setup, samples
from llmbuilder.engine.loading import Engine
from llmbuilder.generator import TextGenerator


class Demo:
    """The demo with what its checks need."""

    def __init__(self, setup: Setup, section: Section, engine: Engine) -> None:
        """Check ``engine``."""
        self.setup = setup
        self.section = section
        self.engine = engine
        self.generator = TextGenerator(engine)
        self.prompts = [sample["prompt"] for sample in samples(8)]
        self.tokens = setup.pick(60, 10)

    def texts(self, prompts: list[str], **options: Any) -> list[str]:
        """What each prompt gives alone."""
        return [self.generator.generate(prompt, **options) for prompt in prompts]

    def alone_and_together(self, name: str, **options: Any) -> None:
        """Check that a batch says what its prompts say alone."""
        options = {"max_new_tokens": self.tokens, **options}
        alone = self.texts(self.prompts, **options)
        together = self.generator.generate_batch(self.prompts, batch_size=8, **options)
        equal = sum(a == b for a, b in zip(alone, together, strict=True))
        self.section.check(name, equal == len(alone) and any(alone), prompts=len(alone), equal=equal)
