"""Names of the characters in the stories, and how to swap them.

The writer of the corpus reuses a handful of names. Swapping them for others each time a story is read shows
the model more varied text than there is, teaches it to keep a character's name through a story, and makes
learning a story by heart harder.
"""

import random
import re

GIRLS = ("Mia", "Luna", "Emma", "Daisy", "Rosa", "Lily", "Sarah", "Lola", "Emily", "Bella", "Anna", "Ella")
BOYS = ("Max", "Ben", "Tom", "Jack", "Sam", "Benny", "Timmy", "Finn", "Leo", "Tim", "Oliver", "Charlie")

# Rarer names in the corpus, which are only ever replaced.
_RARE_GIRLS = (
    "Elara|Elena|Lena|Aria|Kala|Kira|Zara|Eira|Lila|Maria|Kara|Ariel|Aurora|Willow|Agnes|Tina|Kyla|Elsa|Kiera"
    "|Ember|Ava|Elen|Sophia|Lucy|Akira|Elmira"
)
_RARE_BOYS = (
    "Alex|Sammy|Finley|Finnley|John|James|Joe|Freddie|Felix|Kaito|Kael|Elian|Jax|Leon|Marco|Robby|Timothy|Orion"
    "|Jasper|Bob|David|Taylor|Elwes|Kanaq|Zephyr|Zephyrus|Grimbold|Oakley|Whiskers|Sparky|Bobby|Tommy|Jake"
)
_NAME = re.compile(
    rf"\b(?:(?P<girl>{'|'.join(GIRLS)}|{_RARE_GIRLS})|(?P<boy>{'|'.join(BOYS)}|{_RARE_BOYS}))\b"
)


def swap_names(story: str) -> str:
    """Give every character in `story` a random name of the same gender, the same one throughout."""
    girls, boys = list(GIRLS), list(BOYS)
    random.shuffle(girls)
    random.shuffle(boys)
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        name = match.group()
        if name not in chosen:
            pool = girls if match.lastgroup == "girl" else boys
            chosen[name] = pool.pop() if pool else name
        return chosen[name]

    return _NAME.sub(replace, story)


def mask_names(text: str) -> str:
    """Replace every known name by one word, to compare texts regardless of names."""
    return _NAME.sub("Name", text)
