"""The page of families says what the proofs measured, no more and no less."""

from families_page import PAGE, page, read_results


def proved(passed=True, **measured):
    counts = {"tests": len(measured), "failed": 0 if passed else 1}
    return {"commit": "abc1234", "date": "2026-11-27", "passed": passed, "measured": counts | measured}


def row_of(text, family):
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {family} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_in_step_with_the_results():
    assert PAGE.read_text(encoding="utf-8") == page(read_results())


def test_a_family_has_one_row_with_the_worst_of_its_seeds():
    exact = {"llama": 2e-6, "llama 1": 3e-6, "llama 2": 1e-6, "gpt_neox+Pythia-2.8b's heads": 5e-7}
    text = page(
        {
            "families-exact": proved(**{name: {"difference": each} for name, each in exact.items()}),
            "families-quantized": proved(
                **{"llama int8": {"divergence": 2e-4}, "llama int4": {"divergence": 0.012}}
            ),
            "families": proved(llama={"nodes": {"cpu none float32": 29, "cuda none float16": 29}}),
        }
    )
    assert row_of(text, "llama") == ["llama", "3", "3.0e-06", "2.0e-04", "1.2e-02", "-", "yes"]
    assert row_of(text, "gpt_neox+Pythia-2.8b's heads")[1:] == ["1", "5.0e-07", "-", "-", "-", "-"]


def test_what_cannot_be_exported_for_cards_is_told():
    text = page({"families": proved(mixtral={"nodes": {"cpu none float32": 60}})})
    assert row_of(text, "mixtral")[-1] == "no"


def test_refusals_are_listed_with_their_reasons():
    text = page({"families-refused": proved(bert={"refused": "a | b"}, skipped={})})
    assert row_of(text, "bert") == ["bert", "a / b"]
    assert "| skipped |" not in text


def test_parts_that_failed_or_have_no_result_are_named():
    text = page({"families": proved(passed=False, llama={"nodes": {}})})
    assert "`families`: graphs that the check lets in; at abc1234 on 2026-11-27, 1 of 1 failed\n" in text
    assert "`families-exact`: logits, and greedy tokens of transformers; not measured yet\n" in text
