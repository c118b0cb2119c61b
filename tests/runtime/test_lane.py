"""A lane knows which requests wait, also of those that come while it is at work."""

from threading import Condition

from llmbuilder.config import GenerationConfig
from llmbuilder.generator import TextGenerator
from llmbuilder.scheduling.lane import Lane
from llmbuilder.scheduling.request import Limits
from llmbuilder.testing import fake_engine, random_rule


class Deaf:
    """Takes no notice."""

    is_heard = True

    def tell(self, pieces):
        pass

    def end(self, answer):
        pass


class Clock:
    """Stands still; does something when it is looked at for the second time."""

    def __init__(self, then):
        self.looks, self.then = 0, then

    def __call__(self):
        self.looks += 1
        if self.looks == 2:
            self.then()
        return 0.0


def test_a_request_that_comes_in_the_middle_of_a_turn_waits():
    generator = TextGenerator.from_engine(fake_engine(random_rule()))

    def submit():
        lane.submit(generator.group("x", GenerationConfig()), Deaf())

    clock = Clock(submit)
    lane = Lane(generator, Limits(max_rows=1), Condition(), clock)
    submit()
    lane.turn()
    assert clock.looks > 2, "nothing came in the middle"
    assert lane.load == (1, 1)
