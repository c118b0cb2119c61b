"""The HTML report of a comparison: what stands in it, and how it is built for readers of all kinds."""

import itertools
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny_language import lowercase

from llmbuilder.generator import TextGenerator
from llmbuilder.quality.compare import compare
from llmbuilder.quality.html import Mean, to_html
from llmbuilder.quality.naming import common_options, name_of
from llmbuilder.quality.plot import axis_of
from llmbuilder.quality.significance import pairs_interval
from llmbuilder.testing import fake_engine, scripted

DATE = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
CONFIGS = [{"temperature": 0.5}, {"temperature": 2.0, "top_k": 9}, {"do_sample": False}]


def letters():
    return TextGenerator.from_engine(fake_engine(lowercase, context_length=256))


@pytest.fixture(scope="module")
def found():
    return compare(letters(), "<b>", CONFIGS, num_samples=4, max_new_tokens=12)


@pytest.fixture(scope="module")
def page(found):
    return to_html(found, "<b>", model="fox & hen", seed=7, date=DATE)


class Outline(HTMLParser):
    """Tags with their attributes, and whether all that are opened are closed."""

    EMPTY = ("meta", "line")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_report_says_what_was_compared_when_and_with_what(page):
    for fact in (
        "fox &amp; hen",
        "4 of each configuration",
        "max_new_tokens=12",
        "<dd>7</dd>",
        "2026-11-27 12:30",
    ):
        assert fact in page
    assert re.search(r"llmbuilder-runtime \S+, onnxruntime", page)
    assert re.search(r"Python 3\.\d+", page)


def test_a_report_names_each_configuration_by_the_options_in_which_they_differ(found, page):
    names = [name_of(result.config.options(), common_options(found)) for result in found]
    assert names == ["temperature=0.5", "temperature=2.0 top_k=9", "do_sample=False"]
    assert all(
        page.count(f'<span class="name">{name}</span><small>') == page.count("<figure>") for name in names
    )
    assert name_of({"seed": 1}, {"seed": 1}) == "(defaults)"
    assert common_options(found[:1]) == {}


def test_a_report_has_every_measure_with_its_interval_and_all_samples(found, page):
    for measure in ("quality", "coherence", "fluency", "relevance", "variety", "repetition", "diversity"):
        assert page.count(f'data-name="{measure}"') >= len(found)
    for result in found:
        low, high = result.quality_interval
        assert f"{result.avg_quality:.3f}" in page
        assert f"{low:.3f} to {high:.3f}" in page or not result.config.do_sample
        assert all(sample.text.strip() in page for sample in result.samples)


def test_a_text_that_is_always_the_same_stands_once_and_has_no_interval(page):
    assert page.count("The same text as sample 1") == 3
    assert re.search(r"do_sample=False</span><small>\d\.\d{3}</small>", page)


def test_a_report_loads_nothing_runs_nothing_and_escapes_what_is_not_its_own(page):
    assert "&lt;b&gt;" in page
    assert not any(word in page for word in ("<script", "http:", "https:", "src=", "<b>", "<link"))
    assert "default-src 'none'" in page


def test_a_report_is_made_for_phones_for_the_dark_and_for_who_hears_it(page):
    outline = Outline(page)
    assert outline.open == []
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.all("meta")
    assert "prefers-color-scheme: dark" in page
    assert outline.all("html") == [{"lang": "en"}]
    assert all(cell["scope"] in ("col", "row") for cell in outline.all("th"))
    assert all("aria-label" in each or each.get("aria-hidden") == "true" for each in outline.all("svg"))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_report_of_the_same_comparison_is_the_same(found, page):
    assert to_html(found, "<b>", model="fox & hen", seed=7, date=DATE) == page


def test_what_cannot_be_judged_is_said_to_be_so():
    silent = TextGenerator.from_engine(fake_engine(scripted("")))
    found = compare(silent, "", [{}], num_samples=1, max_new_tokens=1)
    page = to_html(found, "", model="m", seed=None, date=DATE)
    assert "not judged" in page
    assert "(nothing)" in page
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", page)
    assert "Which differ" not in page
    assert str(Mean(math.nan, math.nan, math.nan)) == "not judged"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.62, 0.71], ["0.62", "0.64", "0.66", "0.68", "0.70", "0.72"]),
        ([0.0, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.4, math.nan, 0.4], ["0.34", "0.36", "0.38", "0.40", "0.42", "0.44", "0.46"]),
    ],
)
def test_an_axis_spans_what_is_shown_with_round_ticks(values, labels):
    axis = axis_of(values)
    assert [axis.written(tick) for tick in axis.ticks] == labels
    places = [axis.at(tick) for tick in axis.ticks]
    assert (places[0], places[-1]) == (4.0, 96.0)
    assert places == sorted(places)


def test_an_axis_of_nothing_is_one_all_the_same():
    assert axis_of([math.nan]).low < 0.5 < axis_of([]).high


def test_the_interval_of_pairs_holds_the_mean_of_their_source_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        points = random.normal(size=24)
        low, high = pairs_interval(np.abs(points[:, None] - points[None]), random)
        held += low <= 2 / math.sqrt(math.pi) <= high
    assert 0.85 <= held / 200 <= 1
    assert np.isnan(pairs_interval(np.zeros((1, 1)), random)).all()
