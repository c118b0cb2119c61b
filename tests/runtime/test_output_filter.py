"""`OutputFilter`: what it refuses, what it masks, what it reports."""

import math
import re

import pytest

from llmbuilder.errors import ConfigError
from llmbuilder.filtering import OutputFilter, clock

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
    "pattern", ["(a+)+b", "(a{1,20}){1,20}b", "((a+)b?)*c", "(a|aa)+b", "(a|a)+(a|aa)+b"]
)
def test_a_pattern_is_found_not_found_or_out_of_time_but_never_endless(monkeypatch, pattern):
    monkeypatch.setattr(clock, "SECONDS", 0.2)
    out_of_time = f"banned_patterns: {pattern!r} takes more than 0.24 s"
    assert verdict("a" * 50_000, {"banned_patterns": [pattern]}).startswith(("passed", out_of_time))


def verdict(text, settings):
    """What becomes of a text, in words."""
    try:
        return "passed" if OutputFilter.filter(text, settings) is not None else "failed"
    except ConfigError as error:
        return str(error)


def test_out_of_time_is_an_error_and_not_a_pass(monkeypatch):
    monkeypatch.setattr(clock, "SECONDS", 0.2)
    with pytest.raises(ConfigError, match="for a text of 100000 characters"):
        OutputFilter.filter("a" * 100_000, {"banned_patterns": ["(a+)+b"]})


@pytest.mark.parametrize("check", ["profanity_filter", "factuality_check"])
def test_every_check_that_can_be_slow_looks_at_the_clock(monkeypatch, check):
    monkeypatch.setattr(clock, "SECONDS", 0.0)
    with pytest.raises(ConfigError, match=f"{check} takes more than 0 s"):
        OutputFilter.filter("Some words.", {check: True})


@pytest.mark.parametrize(
    "pattern", ["(?:" * 20 + "a" + "){2}" * 20, "(?:a{1000}){1000}", "(?:" * 60 + "a" + ")+" * 60]
)
def test_a_pattern_too_large_to_be_held_is_refused(pattern):
    with pytest.raises(ConfigError, match="than can be held in memory"):
        OutputFilter.filter("text", {"banned_patterns": [pattern]})


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\d{1,3}\.){3}\d+",
        "(a+)?",
        "(?:a{16},)*",
        "(?:(?>a+)b)*",
        r"[(a+)+]\(a+\)+",
        "a{1000}",
        r"(\w+\s){50}",
    ],
)
def test_ordinary_patterns_are_allowed(pattern):
    assert OutputFilter.filter("text", {"banned_patterns": [pattern + "!"]}) == "text"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(?:fox){e<=1}", "fix"),
        ("a{e}", "b"),
        ("[[:alpha:]]", "z]"),
        ("a{,2}$", "b"),
        ("a{,}b", "aab"),
        ("[]{e}]x", "{x"),
        (r"\N{LATIN SMALL LETTER A}{2}", "aa"),
        (r"\[[[]", "[["),
        ("ß", "SS"),
        ("[^]a]", "a"),
        ("straße|x{1,2,3}", "x{1,2,3}"),
        ("(?x) a # {e}\n b", "ab"),
        ("(?x) a # [\n [b]{e}", "ab"),
        (r"(?#[)a[]b]", "a]"),
        (r"^\w$", "\u0345"),
        (r"a\b", "a\u0301"),
        (r"\s", "\x1c"),
        (r"\B", ""),
        (r"(?a)^\w", "é"),
        (r"(?P<q>['\"])x(?P=q)", "'x'"),
        (r"(a)?(?(1)b|c)", "c"),
        (r"[^\W\d_]", "5_"),
    ],
)
@pytest.mark.filterwarnings("ignore:Possible nested set")
def test_patterns_mean_what_they_mean_to_the_standard_library(pattern, text):
    found = re.search(pattern, text, re.IGNORECASE) is not None
    assert (OutputFilter.filter(text, {"banned_patterns": [pattern]}) is None) == found


def test_a_profane_word_is_found_wherever_in_a_long_text():
    story = "The fox ran home. " * 1000
    for at in (3996, 4000, 8020, 17_999):
        text = story[:at] + " shit " + story[at:]
        assert OutputFilter.filter(text, {"profanity_filter": True}) == text.replace("shit", "****")


@pytest.mark.parametrize("text", ["1" * 300_000, "x" * 300_000, "5h1t" * 20_000, "1 " * 50_000])
def test_long_texts_of_one_kind_are_checked_in_time_that_grows_with_them(text):
    assert OutputFilter.filter(text, {"profanity_filter": True, "personal_data": "mask"}) is not None


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
