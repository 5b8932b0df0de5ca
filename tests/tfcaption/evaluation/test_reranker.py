"""`evaluate --rerank`: cross-fitted scores of the chosen captions, and weights for other splits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluate import main
from tfcaption.evaluation.candidates import hypothesis_features
from tfcaption.evaluation.references import load_references
from tfcaption.evaluation.rerank_weights import read_weights
from tfcaption.evaluation.reranker import evaluate_reranked
from tfcaption.evaluation.results import EvaluationOptions
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.records.captions import Hypothesis
from tfcaption.runs.directory import load_run, load_run_dataset


@pytest.fixture(scope="module")
def runs(trained_run, glove_run, tmp_path_factory):
    """Copies of two runs, to be evaluated."""
    folder = tmp_path_factory.mktemp("reranked")
    return [str(shutil.copytree(path, folder / name)) for name, path in (("a", trained_run), ("b", glove_run))]


def rerank(runs, output, split, weights=None):
    loaded = [load_run(run) for run in runs]
    dataset = load_run_dataset(loaded[0])
    options = EvaluationOptions(split, CaptionOptions(beam=2))
    return evaluate_reranked(loaded, dataset, options, output, load_references(dataset.records, split), weights)


@pytest.fixture(scope="module")
def reranked(runs, tmp_path_factory):
    """The folder of a reranking that is fitted on dev."""
    output = tmp_path_factory.mktemp("reranked") / "reranked"
    rerank(runs, output, "dev")
    return output


def read(folder):
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    return json.loads((folder / "metrics.json").read_text()), lines


def test_each_photo_gets_the_best_of_the_pooled_hypotheses_and_the_scores_are_of_those(reranked, sample_records):
    metrics, lines = read(reranked)
    references = load_references(sample_records, "dev").by_photo
    assert {line["id"]: line["references"] for line in lines} == references
    again = corpus_scores({x["id"]: x["caption"] for x in lines}, {x["id"]: x["references"] for x in lines})
    assert again == {key: metrics[key] for key in again}
    for line in lines:
        found = [Hypothesis(**hypothesis) for hypothesis in line["nbest"]]
        assert (line["caption"], line["score"]) == found[0] and found == sorted(found, key=lambda each: -each.score)
        assert 5 <= len({each.caption for each in found}) == len(found) <= 15
    assert metrics["hypotheses"] == sum(len(line["nbest"]) for line in lines)


def test_metrics_say_how_captions_were_chosen_and_leave_out_what_a_choice_has_not(reranked):
    metrics, _ = read(reranked)
    assert metrics["reranked"] == "5 folds" and len(metrics["ridges"]) == 5 and metrics["search"]["beam"] == 5
    assert metrics["protocol"].endswith(
        "beam 5, no repeated 3-gram, all hypotheses of ensemble and run 1 and run 2, reranked (5 folds)"
    )
    assert "perplexity" not in metrics and {"human", "constant"} <= metrics.keys()


def test_weights_choose_the_captions_of_another_split_by_the_features_alone(reranked, runs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tfcaption.evaluation.reranker.hypothesis_features",
        lambda candidates, *how: seen.append((candidates, hypothesis_features(candidates, *how))) or seen[-1][1],
    )
    weights = read_weights(reranked / "rerank.json")
    rerank(runs, tmp_path, "test", weights)
    metrics, lines = read(tmp_path)
    expected = [candidates.captions[int(np.argmax(features @ weights.weights))] for candidates, features in seen]
    assert [line["caption"] for line in lines] == expected and metrics["reranked"] == "weights of dev"
    assert not (tmp_path / "rerank.json").exists()
    assert weights.features[:2] == ["ensemble_log_prob", "ensemble_mean_log_prob"] and weights.runs == runs
    assert weights.split == "dev" and weights.photos == len(read(reranked)[1])


@pytest.mark.slow
def test_the_command_reranks_an_ensemble_and_then_another_split(reranked, runs, tmp_path, capsys):
    both, on_test = tmp_path / "both", tmp_path / "test"
    assert main([*runs, "--ensemble", str(both), "--rerank", "--beam", "5"]) == 0
    assert read(both / "reranked")[1] == read(reranked)[1]
    for line, before in zip(read(both / "reranked")[1], read(both)[1], strict=True):
        assert {each["caption"] for each in before["nbest"]} <= {each["caption"] for each in line["nbest"]}
    file = both / "reranked" / "rerank.json"
    capsys.readouterr()
    assert main([*runs, "--ensemble", str(on_test), "--split", "test", "--rerank", str(file)]) == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if "constant" in line and "human" in line)
    assert "reranked (weights of dev)" in header
    rerank(runs, tmp_path / "again", "test", read_weights(file))
    assert read(on_test / "reranked")[1] == read(tmp_path / "again")[1]


def test_weights_of_other_runs_or_of_another_search_are_refused_before_anything_runs(
    reranked, runs, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tfcaption.evaluate.start_tensorflow", lambda: pytest.fail("TensorFlow starts"))
    file, output = str(reranked / "rerank.json"), ["--ensemble", str(tmp_path / "out")]
    broken, changed = tmp_path / "broken.json", tmp_path / "changed"
    broken.write_text('{"weights": [1]}')
    shutil.copytree(runs[0], changed)
    (data,) = (changed / "checkpoints" / "best").glob("ckpt-*.data*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    for arguments, message in (
        ([*runs[::-1], *output, "--rerank", file], "its weights are for other runs, other checkpoints"),
        ([str(changed), runs[1], *output, "--rerank", file], "its weights are for other runs, other checkpoints"),
        ([runs[0], "--rerank", file], "its weights are for other runs, other checkpoints"),
        ([*runs, *output, "--rerank", file, "--beam", "7"], "its weights are for another search"),
        (
            [*runs, *output, "--rerank", file, "--score_tokenizer", "characters"],
            "its weights are for --score_tokenizer treebank, not characters; name that one, or fit new",
        ),
        ([*runs, *output, "--rerank", str(broken)], "not a rerank.json"),
        ([*runs, *output, "--rerank", str(tmp_path / "none.json")], "no such file"),
        ([runs[0], "--rerank", "--split", "train"], "hypotheses are compared with the training captions"),
        ([runs[0], "--rerank", "--limit", "4"], "4 photos cannot be divided into 5 folds"),
        ([*runs, *output, "--rerank", runs[0]], "is a folder, not a rerank.json; name the runs before --rerank"),
    ):
        assert main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: --rerank") and message in line
    for arguments in ([*runs, "--rerank"], ["--captions", "x", "--records", "y", "--rerank"]):
        with pytest.raises(SystemExit):
            main(arguments)


def test_a_single_run_reranks_its_own_hypotheses_beside_its_scores(runs, capsys):
    assert main([runs[0], "--rerank", "--limit", "6", "--score_tokenizer", "unicode"]) == 0
    out = capsys.readouterr().out
    folder = Path(runs[0]) / "eval-dev-first-6" / "reranked"
    assert f"captions and scores: {folder}" in out and "reranked (5 folds)" in out
    weights = json.loads((folder / "rerank.json").read_text())
    assert weights["score_tokenizer"] == "unicode"
    of_photo = ["mean_similarity", "predicted_similarity"]
    assert weights["features"] == ["run_1_log_prob", "run_1_mean_log_prob", "consensus", "words", *of_photo]
    assert {len(line["nbest"]) for line in read(folder)[1]} == {5}
