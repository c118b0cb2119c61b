"""`OutputFilter`: what it refuses, what it masks, what it reports."""

import math

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.filtering import OutputFilter

STORY = "A fox went to the river. It drank some water there. Then it ran home through the dark wood."


def failed(text, config, **more):
    return [failure.partition(":")[0] for failure in OutputFilter.check(text, config, **more).failures]


def test_runaway_marks_are_checked_in_time_that_grows_with_the_text():
    text = "." * 200_000  # in time that grows with its square, minutes
    assert OutputFilter.filter(text, {"factuality_check": True, "coherence_threshold": 0.5}) == text


def test_without_settings_every_text_passes_as_it_is():
    assert OutputFilter.filter("fuck", {}) == "fuck"
    assert OutputFilter.check("", {}).scores == {}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"min_length": 20}, "Too short."),
        ({"max_length": 20}, STORY),
        ({"max_repetition": 0.3}, "the cat sat on the mat " * 8),
        ({"coherence_threshold": 1.0}, STORY),
        ({"personal_data": True}, "Write to fox@example.com for more."),
        ({"banned_patterns": [r"as an ai\b"]}, "As an AI, I cannot say."),
        ({"allowed_scripts": ["latin"]}, "The word is слово."),
        ({"factuality_check": True}, "2 + 2 = 5"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_check_rejects_by_itself_and_is_named(config, text):
    assert OutputFilter.filter(text, config) is None
    assert failed(text, config) == list(config)


def test_the_documented_keys_together_pass_a_story():
    config = {
        "min_length": 20,
        "max_repetition": 0.3,
        "profanity_filter": True,
        "coherence_threshold": 0.1,
        "factuality_check": True,
    }
    report = OutputFilter.check(STORY, config)
    assert report.passed
    assert set(report.scores) == set(config)
    assert report.scores["min_length"] == len(STORY)


def test_all_failures_are_reported_not_only_the_first():
    assert failed("2 + 2 = 5", {"min_length": 50, "factuality_check": True}) == [
        "min_length",
        "factuality_check",
    ]


@pytest.mark.parametrize("text", ["", " \n", "one", "12"])
def test_texts_with_nothing_to_judge_fail_only_by_length(text):
    everything = {
        "max_repetition": 0.0,
        "coherence_threshold": 1.0,
        "allowed_scripts": ["greek"] if text != "one" else ["latin"],
        "profanity_filter": True,
        "factuality_check": True,
        "personal_data": True,
    }
    assert OutputFilter.filter(text, everything, prompt="Three words") == text
    assert OutputFilter.filter(text, {"min_length": 5}) is None
    assert math.isnan(OutputFilter.check(text, {"coherence_threshold": 1.0}).scores["coherence_threshold"])


def test_profanity_is_masked_and_does_not_reject():
    report = OutputFilter.check("What the fuck, Scunthorpe?", {"profanity_filter": True})
    assert report.passed
    assert report.text == "What the ****, Scunthorpe?"
    assert report.scores == {"profanity_filter": 1}


def test_masking_changes_no_verdict():
    config = {"profanity_filter": True, "min_length": 4, "banned_patterns": ["shit"]}
    assert failed("shit", config) == ["banned_patterns"]


def test_personal_data_is_masked_if_asked():
    text = OutputFilter.filter("Mail a.b@example.org or call +44 20 7946 0958!", {"personal_data": "mask"})
    assert text == "Mail *.*@*******.*** or call +** ** **** ****!"


def test_a_rejected_report_does_not_repeat_personal_data():
    (failure,) = OutputFilter.check("Mail me: a.b@example.org", {"personal_data": True}).failures
    assert "example" not in failure


def test_a_given_prompt_is_compared():
    config = {"factuality_check": True}
    text = "The company, founded in 1998, grew."
    assert OutputFilter.filter(text, config) == text
    assert OutputFilter.filter(text, config, prompt="A company founded in 1985.") is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"min_lenght": 5}, "Did you mean 'min_length'"),
        ({"colour": 5}, "Known ones: min_length"),
        ({"min_length": "5"}, "min_length must be a whole number"),
        ({"min_length": True}, "min_length must be a whole number"),
        ({"max_repetition": 1.5}, "max_repetition must be a number from 0 to 1"),
        ({"coherence_threshold": math.nan}, "coherence_threshold must be a number"),
        ({"profanity_filter": 1}, "profanity_filter must be True or False"),
        ({"personal_data": "hide"}, "True, False or 'mask'"),
        ({"allowed_scripts": ["klingon"]}, "allowed_scripts must be a list of scripts among arabic"),
        ({"banned_patterns": ["("]}, "not a regular expression"),
        ({"banned_patterns": ["a{99999999999}"]}, "not a regular expression"),
        ({"min_length": 9, "max_length": 5}, "no text passes"),
        (None, "must be a dict"),
    ],
)
def test_wrong_settings_are_refused_with_advice(config, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        OutputFilter.filter("text", config)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        r"(\w{2,}x)*y",
        r"(\w+)+$",
        r"(\w+\s?)*$",
        "((a+)b?)*",
        "(?:a*?)+",
        "(b|(?:a+)?)*c",
        "(?>(a+)+b)",
        "(a{1,20}){1,20}b",
    ],
)
def test_a_repeated_repetition_is_refused_however_it_is_nested(pattern):
    with pytest.raises(ConfigError, match="take forever"):
        OutputFilter.filter("text", {"banned_patterns": [pattern]})


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\d{1,3}\.){3}\d+",
        r"\w+\s+\w+",
        "(?:ab)+",
        "(a+)?",
        "(?:a{16},)*",
        "(?:(?>a+)b)*",
        r"[(a+)+]\(a+\)+",
    ],
)
def test_repetitions_that_cannot_take_forever_are_allowed(pattern):
    assert OutputFilter.filter("text", {"banned_patterns": [pattern + "!"]}) == "text"


@pytest.mark.parametrize("text", [None, 5, b"bytes"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ConfigError, match="must be a string"):
        OutputFilter.filter(text, {})
    with pytest.raises(ConfigError, match="prompt to filter must be a string"):
        OutputFilter.filter("text", {"factuality_check": True}, prompt=[])


def test_a_single_pattern_or_script_needs_no_list():
    assert OutputFilter.filter("abc", {"banned_patterns": "b", "allowed_scripts": "latin"}) is None


def test_accents_and_full_width_letters_are_of_their_script():
    text = "Łódź, naïve ﬁne \uff41\uff42 5 µm ª 🦊"
    assert OutputFilter.filter(text, {"allowed_scripts": ["latin", "greek"]}) == text
