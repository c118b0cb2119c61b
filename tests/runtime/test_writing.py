"""`CreativeWriter`: styles, lengths, dialogues."""

import re
from contextlib import closing
from pathlib import Path

import pytest
from chat_templates import TEMPLATE

from llmbuilder.config import GenerationConfig
from llmbuilder.errors import ConfigError
from llmbuilder.generator import TextGenerator
from llmbuilder.testing import EOS, fake_engine, random_rule, scripted
from llmbuilder.writing import CreativeWriter, Style, register_style, style_names, styles
from llmbuilder.writing.dialogue import clean_turn, find_speakers
from llmbuilder.writing.lengths import count_words, cut_at_last_sentence, cut_near, is_long_enough
from llmbuilder.writing.prompts import Asker
from llmbuilder.writing.styles import find_style

DEMO = Path(__file__).parents[2] / "artifacts" / "storyteller" / "bundle"
GREEDY = GenerationConfig(do_sample=False)
START = "It was a dark night when Sarah found the letter..."


def writer(text, *, end=True, window=512, **options):
    engine = fake_engine(scripted(text, end=end), context_length=window)
    return CreativeWriter(TextGenerator.from_engine(engine), **{"config": GREEDY, **options})


@pytest.fixture(scope="module")
def demo():
    with TextGenerator(DEMO) as generator:
        yield generator


def test_a_story_goes_on_to_the_end_of_a_sentence_near_its_length():
    story = writer(" One two three four. Five six. Seven eight.").continue_story("Start.", length=5)
    assert story == " One two three four."


@pytest.mark.parametrize("length", [60, 120])
@pytest.mark.parametrize("style", style_names())
def test_stories_of_a_real_model_have_their_length(demo, style, length):
    story = CreativeWriter(demo, style=style, seed=1).continue_story(START, length=length)
    assert 0.75 * length <= count_words(story) <= 1.25 * length
    assert story.rstrip("\"'”")[-1] in ".!?…"


def test_a_story_longer_than_the_window_keeps_its_length(demo):
    story = CreativeWriter(demo, style="story", seed=2).continue_story(START * 40, length=250)
    assert 212 <= count_words(story) <= 288


def test_a_model_that_would_end_early_is_kept_writing():
    story = writer(" He ran away. She sat down.", end=False).continue_story("Start.", length=30)
    assert 25 <= count_words(story) <= 35


def test_a_stop_string_of_the_user_still_ends_a_story():
    stopping = GREEDY.merge(GREEDY, {"stop_strings": ["STOP"]})
    assert writer(" Go on. STOP it.", config=stopping).continue_story("Start.", length=100) == " Go on."


def test_a_story_of_silence_ends():
    assert writer("   ", end=False).continue_story("Start.", length=10) == ""


def test_the_same_seed_writes_the_same(demo):
    texts = [CreativeWriter(demo, seed=7).develop_character("a shy bear") for _ in range(2)]
    assert texts[0] == texts[1]


def test_a_character_is_described_in_whole_sentences_within_the_budget():
    assert writer(" She was kind. She had", config=GREEDY).develop_character("a queen") == "She was kind."
    short = GREEDY.merge(GREEDY, {"max_new_tokens": 20})
    assert (
        writer(" She was kind. She had a hat.", config=short).develop_character("a queen") == "She was kind."
    )


@pytest.mark.parametrize("seed", [20, 21, 22])  # each ended at its first token, with the guide's own options
def test_a_character_is_never_nobody(demo, seed):
    config = GenerationConfig(temperature=1.0, top_p=0.95, seed=seed)
    assert CreativeWriter(demo, config=config).develop_character("a brilliant but eccentric scientist")


def test_a_character_that_comes_out_empty_is_tried_again():
    asked = []

    class Shy(TextGenerator):
        def pieces(self, prompt, config=None, **options):
            asked.append(options["seed"])
            return iter(["..." if len(asked) < 3 else " He was tall."])

    shy = Shy.from_engine(fake_engine(scripted("text")))
    assert CreativeWriter(shy, config=GenerationConfig(seed=5)).develop_character("a king") == "He was tall."
    assert asked == [5, 6, 7]


@pytest.mark.parametrize("style", style_names())
@pytest.mark.parametrize("turns", [1, 2, 7])
def test_dialogues_have_exactly_their_turns_and_speakers_take_turns(demo, style, turns):
    text = CreativeWriter(demo, style=style, seed=3).generate_dialogue("two friends and a ball", turns=turns)
    lines = text.splitlines()
    assert [line.partition(":")[0] for line in lines] == (["Anna", "Ben"] * 4)[:turns]
    assert [line for line in lines if not re.search(r": \S.*[.!?…][\"')]*$", line)] == []


def test_speakers_are_those_of_the_scene_or_those_given(demo):
    writer = CreativeWriter(demo, seed=3)
    named = writer.generate_dialogue("Tom, Lily and Max play in Paris", turns=4)
    assert [line.partition(":")[0] for line in named.splitlines()] == ["Tom", "Lily", "Max", "Tom"]
    given = writer.generate_dialogue("a quarrel", turns=2, speakers=["The King", "Fool"])
    assert [line.partition(":")[0] for line in given.splitlines()] == ["The King", "Fool"]


def test_who_says_nothing_is_silent():
    assert writer('"').generate_dialogue("two mimes", turns=2) == "Anna: …\nBen: …"


def test_who_repeats_what_was_said_is_silent():
    assert writer('Yes, I do."').generate_dialogue("a wedding", turns=2) == "Anna: Yes, I do.\nBen: …"


def test_a_style_gives_the_options_unless_a_config_does():
    engine = fake_engine(scripted("text"))
    for config, expected in (
        (None, find_style("formal").config.temperature),
        (GenerationConfig(top_k=3), 0.8),
    ):
        made = CreativeWriter(TextGenerator.from_engine(engine), style="formal", config=config)
        assert made.config.temperature == expected
    made = CreativeWriter(TextGenerator.from_engine(engine), style="formal", temperature=0.1)
    assert made.config.temperature == 0.1


def test_own_styles_are_used_by_name_or_as_they_are(monkeypatch):
    noir = Style(
        name="noir", voice="Dark.", character="{description} lit a match.", dialogue="Rain. {scene}."
    )
    monkeypatch.setattr(styles, "_STYLES", {**styles._STYLES})
    register_style(noir)
    assert style_names()[-1] == "noir"
    for style in ("noir", noir):
        assert writer(" It rained.", style=style).develop_character("Sam") == "It rained."


def test_other_braces_of_a_style_are_text():
    odd = Style(name="odd", voice="", character="{name}: {description} {}", dialogue="{0} {scene}")
    assert writer(" It rained.", style=odd).develop_character("Sam {x}") == "It rained."
    assert writer('Yes."', style=odd).generate_dialogue("a {y}", turns=1) == "Anna: Yes."


def test_beams_write_too(demo):
    beams = GenerationConfig(do_sample=False, num_beams=2)
    story = CreativeWriter(demo, config=beams).continue_story(START, length=15)
    assert 10 <= count_words(story) <= 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: writer("x", style="creativ"), "Did you mean 'creative'"),
        (lambda: writer("x", style="zzz"), "Known ones: creative, technical"),
        (lambda: writer("x", config=GenerationConfig(num_return_sequences=2)), "and here there is one"),
        (lambda: writer("x").continue_story("a", length=0), "length must be a whole number"),
        (lambda: writer("x").generate_dialogue("a", turns=True), "turns must be a whole number"),
        (lambda: writer("x").generate_dialogue("a", speakers=["Ann"]), "two or more different names"),
        (lambda: writer("x").generate_dialogue("a", speakers="Ann"), "two or more different names"),
        (lambda: writer("x").generate_dialogue("a", speakers=["A:", "B"]), "without ':'"),
        (lambda: writer("x").generate_dialogue("a", speakers=[1, 2]), "speakers must be a text, got 1"),
        (lambda: writer("x").generate_dialogue(None), "scene must be a text"),
        (lambda: writer("x").develop_character(None), "description must be a text, got None"),
        (lambda: writer("x").continue_story(None), "text must be a text"),
        (lambda: Style(name="s", voice="", character="Who?", dialogue="{scene}"), "must have {description}"),
        (lambda: Style(name="s", voice="", character=None, dialogue="{scene}"), "character must be a text"),
    ],
)
def test_mistakes_are_refused_with_advice(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('Hello there, friend." He left', "Hello there, friend."),
        ("Hello.\nBen: Hi.", "Hello."),
        ("Hello. Ben: Hi.", "Hello."),
        ("Anna: Hello.", "Hello."),
        ("  so we went to the", "so we went to the…"),
        ("Yes. And then I", "Yes."),
        ("What?!", "What?!"),
        ("...", ""),
        (' "', ""),
        ("", ""),
    ],
)
def test_a_turn_is_one_line_of_whole_sentences(text, said):
    assert clean_turn(text, ("Anna", "Ben")) == said


def test_names_are_found_in_lists_only():
    assert find_speakers("two friends in Paris") == ("Anna", "Ben")
    assert find_speakers("Tom and Lily in Paris") == ("Tom", "Lily")
    assert find_speakers("Tom and Tom") == ("Anna", "Ben")


def test_sentences_end_at_marks_but_not_at_abbreviations():
    assert cut_at_last_sentence('He met Dr. Fox. "Really?" she') == "He met Dr. Fox."
    assert cut_at_last_sentence('He met Dr. Fox. "Really?" She') == 'He met Dr. Fox. "Really?"'
    assert cut_at_last_sentence("He met Prof. Smith at") == "He met Prof. Smith at"
    assert cut_at_last_sentence("Dr. Fox met") == "Dr. Fox met"
    assert cut_at_last_sentence("no end ") == "no end"


def test_texts_are_cut_at_the_nearest_end():
    text = "One two. Three four. Five six seven eight nine ten."
    assert cut_near(text, 4) == "One two. Three four."
    assert cut_near("one two three four five six", 3) == "one two three"
    assert cut_near("One two. Three " + "." * 100_000 + "x", 2) == "One two."
    assert cut_near('. " ' * 50_000, 3) == '. " .'


def test_a_text_is_long_enough_when_a_sentence_has_surely_ended():
    assert not is_long_enough("One two three.", 3)
    assert is_long_enough("One two three. Four", 3)
    assert not is_long_enough("One two. Three four", 4)
    assert is_long_enough("one two three four five six", 4)


def test_a_chat_model_is_asked_in_its_own_form_and_begins_with_the_text(chat):
    with closing(Asker(TextGenerator.from_engine(chat), find_style("story"))) as asker:
        ids = asker.ask("opening", "Tell me.", "Once </s>")
    voice = find_style("story").voice
    said = bytes(i for i in ids if i < EOS - 1).decode()
    assert said == f"<system>{voice}<user>Tell me.<assistant>Once </s>"
    assert ids.count(EOS) == 2


def test_dialogues_of_a_chat_model_are_scripts(chat):
    text = CreativeWriter(TextGenerator.from_engine(chat), config=GREEDY).generate_dialogue("x", turns=1)
    assert text == "Anna: Hello."


@pytest.fixture
def chat():
    """An engine whose bundle has a chat template."""
    return fake_engine(scripted(" Hello.\nBen: Hi."), context_length=512, chat_template=TEMPLATE)


def test_a_writer_with_other_options_writes_as_one_made_with_them():
    engine = fake_engine(random_rule())
    writer = CreativeWriter(TextGenerator.from_engine(engine), seed=1, max_new_tokens=20)
    own = writer.with_options(seed=2)
    made = CreativeWriter(TextGenerator.from_engine(engine), seed=2, max_new_tokens=20)
    assert own.develop_character("a bear") == made.develop_character("a bear")
    assert writer.config.seed == 1
    with pytest.raises(ConfigError, match="several results"):
        writer.with_options({"num_return_sequences": 2})
