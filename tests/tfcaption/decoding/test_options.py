"""The options of the search: their ranges, their defaults, and how a command line names them."""

import argparse

import pytest

from tfcaption.decoding.options import CaptionOptions, add_caption_options, given_options
from tfcaption.runtime.errors import UsageError


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_caption_options(parser, takes_exports=True)
    return given_options(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beam": 0}, "--beam 0: must be at least 1"),
        ({"nbest": 0}, "--nbest 0: must be at least 1"),
        ({"nbest": 4}, "--nbest 4: must be at most --beam 3, or sample with --temperature"),
        ({"no_repeat_ngram": -1}, "--no_repeat_ngram -1: must be at least 0"),
        ({"min_words": -2}, "--min_words -2: must be at least 0"),
        ({"seed": 2**31}, "--seed 2147483648: must be at most 2147483647"),
        ({"length_alpha": float("nan")}, "--length_alpha nan: must be a finite number"),
        ({"temperature": 0.0}, "--temperature 0.0: must be greater than 0, and finite"),
        ({"temperature": float("inf")}, "--temperature inf: must be greater than 0, and finite"),
        ({"top_p": 1.5}, "--top_p 1.5: must be greater than 0 and at most 1"),
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_its_own_option(fields, message):
    with pytest.raises(UsageError) as raised:
        CaptionOptions(**fields)
    assert str(raised.value) == message


def test_a_command_line_gives_only_the_options_that_it_names():
    assert parsed() == {}
    given = parsed("--beam", "5", "--no_repeat_ngram", "3", "--min_words", "4", "--length_alpha", "1", "--nbest", "2")
    assert given == {"beam": 5, "no_repeat_ngram": 3, "min_words": 4, "length_alpha": 1.0, "nbest": 2}
    sampled = parsed("--temperature", "0.7", "--top_p", "0.9", "--seed", "3")
    assert sampled == {"temperature": 0.7, "top_p": 0.9, "seed": 3}
    for name in ("temperature", "top_p"):
        with pytest.raises(UsageError, match=f"--beam 3: there is no beam where --{name} samples"):
            parsed("--beam", "3", f"--{name}", "0.5")


def test_the_beam_grows_to_nbest_unless_it_is_named():
    assert CaptionOptions().updated({"nbest": 5}).beam == 5
    assert CaptionOptions(beam=8).updated({"nbest": 5}).beam == 8
    with pytest.raises(UsageError, match="--nbest 5: must be at most --beam 2"):
        CaptionOptions().updated({"nbest": 5, "beam": 2})


def test_files_of_captions_hold_all_that_are_found_unless_told_otherwise():
    assert CaptionOptions().updated({"beam": 4}, all_shown=True).nbest == 4
    assert CaptionOptions().updated({"beam": 4, "nbest": 2}, all_shown=True).nbest == 2
    assert CaptionOptions().updated({"top_p": 0.9}, all_shown=True).nbest == 1


def test_options_read_as_a_sentence_that_leaves_out_defaults():
    assert str(CaptionOptions()) == "beam search, beam 3, no repeated 3-gram"
    assert str(CaptionOptions(no_repeat_ngram=0)) == "beam search, beam 3"
    blocked = CaptionOptions(beam=1, no_repeat_ngram=2, min_words=5, length_alpha=1.0)
    assert str(blocked) == "greedy search (beam 1), no repeated 2-gram, at least 5 words, length_alpha 1"
    sampled = CaptionOptions(no_repeat_ngram=0, nbest=4, top_p=0.9, seed=7)
    assert str(sampled) == "sampled, temperature 1, top_p 0.9, seed 7, best of 4"
