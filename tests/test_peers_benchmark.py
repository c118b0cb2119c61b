"""The logic of `benchmarks/peers`: turns, going on, states of the machine, figures, targets, pages."""

from xml.etree import ElementTree as ET

import pytest
from peers import cells, registry
from peers.cells import Cell, Job
from peers.chart import chart
from peers.environments import call
from peers.pages import SIZES, SPEEDS, STARTS, number, page, table
from peers.plans import FULL, QUICK, TASKS
from peers.protocol import LeftOutError
from peers.state import State, alike, probe, usual
from peers.summary import Figure, constant, figures
from peers.targets import TARGETS, Target, verdicts

USUAL, SLOW = State(10.0, 200.0, 1.0), State(10.0, 120.0, 1.0)


def cell(job, answers=(), *, before=USUAL, after=USUAL, error=""):
    return Cell(job, "abc1234", before, after, list(answers), error)


def row_cell(configuration, runs, **options):
    return cell(Job(0, "row", configuration), [{"runs": runs, "version": "x 1"}], **options)


def test_configurations_take_turns_within_a_task_and_every_second_pass_goes_backwards():
    order = [(job.task, job.configuration) for job in cells.jobs(["a", "b"], ["start", "row"], 2)]
    forwards = [("start", "a"), ("start", "b"), ("row", "a"), ("row", "b")]
    backwards = [("start", "b"), ("start", "a"), ("row", "b"), ("row", "a")]
    assert order == forwards + backwards


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    wanted = cells.jobs(["a", "b"], ["row"], 1)
    done = row_cell("a", {"32": [[0.5, 1.0]]})
    assert cells.read(path) == []
    cells.append(path, done)
    assert cells.read(path) == [done]
    assert cells.missing(wanted, cells.read(path)) == [Job(0, "row", "b")]


def test_a_cell_that_was_half_written_is_measured_again(tmp_path):
    path = tmp_path / "run.jsonl"
    cells.append(path, row_cell("a", {}))
    path.write_text(path.read_text(encoding="utf-8") + '{"job": {"num', encoding="utf-8")
    assert [one.job.configuration for one in cells.read(path)] == ["a"]
    cells.append(path, row_cell("b", {}))
    assert [one.job.configuration for one in cells.read(path)] == ["a", "b"]


def test_states_are_one_within_the_tolerance_whatever_the_load():
    assert alike(State(11.0, 180.0, 9.0), USUAL)
    assert not alike(State(10.0, 160.0, 1.0), USUAL)
    assert not alike(State(13.0, 200.0, 1.0), USUAL)
    assert usual([USUAL, SLOW, USUAL]) == USUAL


def test_a_probe_measures_something():
    state = probe()
    assert state.bandwidth > 0
    assert state.rate > 0


def test_cells_of_another_state_are_left_out_and_measured_once_more():
    job = Job(0, "row", "a")
    good = [row_cell(name, {}) for name in "bcd"]
    slow = cell(job, [{}], after=SLOW)
    assert cells.comparable([*good, slow]) == good
    assert cells.disturbed([job, good[0].job], [*good, slow]) == [job]
    assert cells.disturbed([job], [*good, slow, cell(job, [{}])]) == []
    assert cells.comparable([]) == []


def test_a_job_that_failed_is_neither_shown_nor_tried_again():
    failed = cell(Job(0, "row", "a"), error="no such kernel")
    assert cells.comparable([failed]) == []
    assert cells.disturbed([failed.job], [failed]) == []
    assert cells.missing([failed.job], [failed]) == []


def test_figures_are_rates_of_prompts_and_of_tokens_after_the_first():
    found = figures([row_cell("a", {"32": [[0.5, 1.0], [0.25, 2.0]]})], new=11)["a"]
    assert found["prefill 32"] == Figure(96.0, 64.0, 128.0, 2)
    assert found["decode 32"] == Figure(7.5, 5.0, 10.0, 2)


def test_rows_count_together_and_whole_runs_count_their_prompts():
    rows = cell(Job(0, "rows", "a"), [{"runs": {"8": [[1.0, 2.0]]}}])
    found = figures([rows], new=6)["a"]
    assert found["8 rows"].median == 20.0
    assert found["8 rows, whole"].median == 16.0


def test_starts_are_seconds_and_memory_is_in_megabytes():
    start = cell(Job(0, "start", "a"), [{"seconds": 0.4}, {"seconds": 0.6}])
    memory = cell(Job(0, "memory", "a"), [{"rss": 3e8, "private": 2e8, "peak at load": 4e8}])
    found = figures([start, memory], new=6)["a"]
    assert found["first token, ids"].median == 0.5
    assert (found["rss"].median, found["private"].median, found["peak at load"].median) == (300, 200, 400)


def test_a_target_is_a_ratio_to_the_best_of_its_peers():
    found = {"us": {"speed": constant(120)}, "a": {"speed": constant(100)}, "b": {"speed": constant(60)}}
    (verdict,) = verdicts(found, [Target("us", "speed", 1.1, aim=1.3, against=("a", "b", "c"))])
    assert (verdict.best, verdict.found, verdict.met, verdict.reached) == ("a", 1.2, True, False)


def test_where_less_is_better_the_best_is_the_least():
    found = {"us": {"rss": constant(300)}, "a": {"rss": constant(200)}, "b": {"rss": constant(250)}}
    (verdict,) = verdicts(found, [Target("us", "rss", 1.4, against=("a", "b"), lower=True)])
    assert (verdict.best, verdict.found, verdict.met, verdict.reached) == ("a", 1.5, False, None)


def test_a_target_without_peers_bounds_the_measure_itself():
    (verdict,) = verdicts({"us": {"kl": constant(0.004)}}, [Target("us", "kl", 0.005, lower=True)])
    assert (verdict.best, verdict.met) == ("", True)


def test_what_was_not_measured_is_not_judged():
    target = Target("us", "speed", 1.0, against=("a",))
    assert verdicts({"us": {"speed": constant(1)}}, [target]) == []
    assert verdicts({"a": {"speed": constant(1)}}, [target]) == []


def test_targets_and_plans_name_configurations_and_measures_that_there_are():
    named = {name for target in TARGETS for name in (target.ours, *target.against)}
    assert named | set(QUICK.configurations) <= set(registry.configurations())
    assert {target.measure for target in TARGETS} <= {"kl", *SIZES, *SPEEDS, *STARTS}
    assert set(FULL.repeats) <= set(TASKS)


def test_only_what_is_chosen_takes_part():
    assert list(registry.chosen([], [])) == list(registry.configurations())
    assert registry.chosen(["hf"], []) == {"transformers-fp32": "hf"}
    assert registry.chosen(["hf"], ["ours-int8"]) == {}
    with pytest.raises(LeftOutError, match="no configuration int9; there are ours-none"):
        registry.chosen([], ["int9"])


def test_a_program_that_fails_leaves_its_configuration_out_with_what_it_said():
    with pytest.raises(LeftOutError, match=r"status 3:\nno such form"):
        call(["sh", "-c", "echo no such form; exit 3"])


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (12.34, "12.3"), (0.0037, "0.0037"), (0.0, "0")]
)
def test_numbers_have_about_three_digits(value, text):
    assert number(value) == text


def test_a_table_has_the_spread_and_says_what_is_missing():
    found = {"a": {"kl": constant(0.5)}, "b": {"kl": constant(0.25), "rss": Figure(2.0, 1.0, 3.0, 3)}}
    lines = table(found, ("kl", "rss", "private")).splitlines()
    assert lines == [
        "| configuration | kl | rss |",
        "| --- | --: | --: |",
        "| a | 0.5 | - |",
        "| b | 0.25 | 2 (1 - 3) |",
    ]


def test_a_page_tells_machine_targets_and_what_was_left_out():
    found = {"us": {"kl": constant(0.006)}}
    facts = {
        "commit": "abc1234",
        "date": "today",
        "machine": {"cpu": "a processor", "features": ["avx2"]},
        "state": USUAL._asdict(),
        "cells": 4,
        "used": 3,
        "versions": {"us": "x 1"},
        "left out": {"them": "long story\nno such form"},
    }
    text = page(facts, found, verdicts(found, [Target("us", "kl", 0.005, lower=True)]))
    assert "a processor (avx2), 2 threads" in text
    assert "3 of 4 measurements" in text
    assert "| us | kl | itself | 0.0060 | <= 0.005 | **no** |  |" in text
    assert "- them: no such form" in text


def test_a_chart_is_a_picture_with_a_bar_for_each_configuration():
    found = {"ours-int8": {"kl": constant(0.5)}, "a<b": {"kl": constant(0.0)}}
    picture = ET.fromstring(chart(found))  # noqa: S314 (ours)
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["kl", "ours-int8", "0.5", "a<b", "0"]
