"""The evaluation scores every photo once, runs and foreign captions alike, and says what it cannot score."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest

from tests.conftest import tree_bytes
from tests.support.runs import config, evaluate, train
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluate import main
from tfcaption.evaluation.caption_files import evaluate_captions
from tfcaption.evaluation.evaluator import evaluate_ensemble
from tfcaption.evaluation.references import load_references
from tfcaption.evaluation.results import EvaluationOptions, split_name
from tfcaption.evaluation.scores import METRICS, score_captions, score_table
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.records.display import display_text
from tfcaption.runs.directory import load_run, load_run_dataset

BEAM_OF_TWO = CaptionOptions(beam=2, nbest=2, no_repeat_ngram=2)


def read_lines(folder):
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def expected(sample_records):
    """What captions of the dev split are held against."""
    return load_references(sample_records, "dev")


@pytest.fixture(scope="module")
def references(expected):
    """Photo id -> raw captions of the dev split."""
    return expected.by_photo


@pytest.fixture(scope="module")
def run(glove_run, tmp_path_factory):
    """A copy of the run with word vectors, to be evaluated."""
    return shutil.copytree(glove_run, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def evaluated(run):
    """Its evaluation on the dev split, and the lines that it wrote."""
    result = evaluate(run, split="dev", search=BEAM_OF_TWO)
    return result, read_lines(run / "eval-dev")


@pytest.fixture(scope="module")
def foreign(references, tmp_path_factory):
    """A file with the first reference of each photo of the dev split."""
    path = tmp_path_factory.mktemp("foreign") / "first.jsonl"
    lines = [{"id": photo, "caption": captions[0]} for photo, captions in references.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# --- a run -----------------------------------------------------------------------------------------------


def test_each_photo_is_written_once_with_its_captions_best_first(evaluated, references):
    result, lines = evaluated
    assert [line["id"] for line in lines] == sorted(references) and result["photos"] == len(references)
    for line in lines:
        assert line["references"] == references[line["id"]]
        scores = [found["score"] for found in line["nbest"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 2
        assert (line["caption"], line["score"]) == (line["nbest"][0]["caption"], scores[0])


def test_what_is_written_is_what_is_returned_and_follows_from_the_captions(evaluated, run):
    result, lines = evaluated
    assert json.loads((run / "eval-dev" / "metrics.json").read_text()) == result
    again = corpus_scores({x["id"]: x["caption"] for x in lines}, {x["id"]: x["references"] for x in lines})
    assert again == {key: result[key] for key in again}
    cosines = [line["cosine"] for line in lines if "cosine" in line]
    assert result["cosine"] == pytest.approx(np.mean(cosines), abs=1e-4)
    for percent in (10, 50, 90):
        assert result[f"cosine_p{percent}"] == pytest.approx(np.percentile(cosines, percent), abs=1e-4)
    assert "/best/" in result["checkpoint"]


def test_the_options_of_the_search_are_obeyed_and_recorded(evaluated):
    result, lines = evaluated
    assert result["search"] == BEAM_OF_TWO.as_json()
    assert result["protocol"].endswith(", beam search, beam 2, no repeated 2-gram")
    captions = [found["caption"].split() for line in lines for found in line["nbest"]]
    assert all(len(set(pairs)) == len(pairs) for pairs in (list(itertools.pairwise(words)) for words in captions))


def test_beside_a_run_stand_the_constant_caption_and_a_person(evaluated, references):
    result, _ = evaluated
    constant, human = result["constant"], result["human"]
    said = corpus_scores(dict.fromkeys(references, constant["caption"]), references)
    person = corpus_scores({p: c[0] for p, c in references.items()}, {p: c[1:] for p, c in references.items()})
    assert said.items() <= constant.items() and person.items() <= human.items()
    assert constant["distinct_captions"] == 1 and constant["novel_share"] == 0.0
    assert set(METRICS) - set(result["human"]) == {"perplexity", "token_accuracy"} and set(METRICS) <= set(result)


def test_a_limit_scores_the_first_photos_with_the_same_captions(evaluated, run, references, tmp_path):
    _, lines = evaluated
    copy = shutil.copytree(run, tmp_path / "run")
    before = tree_bytes(copy)
    result = evaluate(copy, split="dev", search=BEAM_OF_TWO, limit=3)
    assert before.items() <= tree_bytes(copy).items()  # what is known of the whole split stays
    first = list(references)[:3]
    assert {line["id"]: line["caption"] for line in read_lines(copy / "eval-dev-first-3")} == {
        line["id"]: line["caption"] for line in lines if line["id"] in first
    }
    assert (
        result["photos"] == result["constant"]["photos"] == 3
        and f"the first 3 of {len(references)} photos" in result["protocol"]
    )


def test_two_runs_share_one_reading_and_one_table(run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    before = tree_bytes(other / "checkpoints")
    assert main(["--run", str(run), str(other), "--split", "test", "--min_words", "6", "--checkpoint", "last"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("reading training captions") == 1
    (header,) = [line.split() for line in printed.out.splitlines() if "constant" in line and "human" in line][:1]
    assert header == ["constant", "run", "other", "human"]
    (row,) = [line.split() for line in printed.out.splitlines() if line.startswith("CIDEr-D")]
    assert row[2] == row[3]
    assert read_lines(run / "eval-test") == read_lines(other / "eval-test")
    found = read_lines(run / "eval-test")
    shown = [line.split(maxsplit=1) for line in printed.out.splitlines()]
    assert [found[4]["id"]] in shown and [found[5]["id"]] not in shown  # five photos, a reference and the captions
    assert ["reference", display_text(found[4]["references"][0])] in shown
    assert shown.count(["run", found[4]["caption"]]) == shown.count(["other", found[4]["caption"]]) >= 1
    assert {len(line["nbest"]) for line in found} == {3} and min(len(line["caption"].split()) for line in found) >= 6
    metrics = json.loads((run / "eval-test" / "metrics.json").read_text())
    assert metrics["search"] == CaptionOptions(nbest=3, min_words=6).as_json()
    assert tree_bytes(other / "checkpoints") == before


def test_no_human_column_where_a_photo_has_a_single_reference(expected):
    single = {photo: captions[: index + 1] for index, (photo, captions) in enumerate(expected.by_photo.items())}
    result, _ = score_captions(dict.fromkeys(single, "a"), dataclasses.replace(expected, by_photo=single), None)
    assert "human" not in result and "human" not in score_table({"run": result, "constant": result["constant"]})


# --- external captions ---------------------------------------------------------------------------------


def test_the_references_themselves_score_full_marks(foreign, references, sample_records, tmp_path, capsys):
    arguments = ["--captions", str(foreign), "--records", str(sample_records), "--output", str(tmp_path / "scores")]
    assert main([*arguments, "--split", "val"]) == 0  # as others call dev
    result = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert [result[f"bleu_{n}"] for n in range(1, 5)] == pytest.approx([1] * 4) and result["rouge_l"] == 1.0
    assert result["cider"] > result["human"]["cider"] > 0
    assert result["mean_words"] == result["human"]["mean_words"]
    written = {line["id"]: line["caption"] for line in read_lines(tmp_path / "scores")}
    assert written == {photo: captions[0] for photo, captions in references.items()}
    assert "first.jsonl" in capsys.readouterr().out


def test_our_own_captions_score_as_they_did(evaluated, run, sample_records):
    result, _ = evaluated
    again = evaluate_captions(run / "eval-dev", sample_records, EvaluationOptions())
    shared = [key for key in METRICS if key in again]
    assert {key: again[key] for key in shared} == {key: result[key] for key in shared} and "cider" in shared


def test_wrong_arguments_are_one_line(foreign, run, sample_records, tmp_path, capsys):
    known = str(foreign)
    for arguments, message in (
        (["--captions", known, "--records", str(tmp_path / "none")], f"error: {tmp_path}/none: no such folder"),
        (["--captions", "none", "--records", str(sample_records)], "error: none: no such file"),
        (["--captions", known, "--records", "x", "--limit", "0"], "error: --limit 0: must be at least 1"),
        (["--run", str(run), "--beam", "0"], "error: --beam 0: must be at least 1"),
        (["--run", str(run), "none"], "error: none: no such run directory; train one"),
    ):
        assert main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(message)
    for arguments in (
        *(["--captions", known], ["--run", str(run), "--output", "x"], [], [str(run), "--split", "tset"]),
        [str(run), "--ignore_extra"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)


@pytest.mark.parametrize(("name", "split"), [("val", "dev"), ("valid", "dev"), ("validation", "dev"), ("test", "test")])
def test_other_names_of_the_dev_split_are_known(name, split):
    assert split_name(name) == split


@pytest.mark.slow
def test_several_runs_are_scored_together_from_the_stage_that_all_can_go_on_from(
    run, sample_records, small_trunk, tmp_path, capsys
):
    other = train(config(tmp_path / "other", sample_records, 1, small_trunk, variant="finetuned"))
    assert main(["--run", str(run), str(other), "--ensemble", str(tmp_path / "both"), "--beam", "2"]) == 0
    assert "both" in capsys.readouterr().out
    result, lines = json.loads((tmp_path / "both" / "metrics.json").read_text()), read_lines(tmp_path / "both")
    assert str(run) in result["checkpoint"] and str(other) in result["checkpoint"]
    assert {line["id"] for line in lines} == {line["id"] for line in read_lines(run / "eval-dev")}
    perplexities = [json.loads((path / "eval-dev" / "metrics.json").read_text())["perplexity"] for path in (run, other)]
    assert result["perplexity"] < max(perplexities)  # the mean of probabilities is never worse than the worse one
    loaded, options = load_run(run), EvaluationOptions("dev", BEAM_OF_TWO)
    twice = evaluate_ensemble([loaded, loaded], load_run_dataset(loaded), options, tmp_path / "twice")
    alone = evaluate(run, split="dev", search=BEAM_OF_TWO)
    assert twice["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-4) and twice["bleu_4"] == alone["bleu_4"]
    with pytest.raises(SystemExit):
        main(["--run", str(run), "--ensemble", str(tmp_path / "one")])


def test_with_records_named_the_features_of_the_training_need_not_be_there(run, evaluated, sample_records, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config_file = moved / "config.yaml"
    lines = config_file.read_text().splitlines(keepends=True)
    gone = ["  features: /nowhere\n" if line.startswith("  features:") else line for line in lines]
    assert gone != lines
    config_file.write_text("".join(gone))
    found = evaluate(moved, split="dev", search=BEAM_OF_TWO, records=sample_records)
    assert found["perplexity"] == pytest.approx(evaluated[0]["perplexity"], rel=1e-2)
