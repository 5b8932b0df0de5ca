"""Exports published with their model cards."""

import json
import shutil

import pytest
import yaml

from tests.support.runs import evaluate
from tfcaption import publish
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.display import display_text
from tfcaption.reporting.model_card import model_card
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run
from tfcaption.runtime.paths import as_path
from tfcaption.serving.export import describe
from tfcaption.serving.model_folder import find_model


@pytest.fixture(scope="module")
def evaluated_run(trained_run, tmp_path_factory):
    run = shutil.copytree(trained_run, tmp_path_factory.mktemp("evaluated") / "run")
    evaluate(run, split="dev")
    return run


@pytest.fixture
def export(evaluated_run, tmp_path):
    """The description of an export of a run that was evaluated, without its graph."""
    run = load_run(shutil.copytree(evaluated_run, tmp_path / "run"))
    checkpoint = as_path(load_captioner(run)[1])
    folder = tmp_path / "exports" / "mine" / "1"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "notes.txt").write_text("mine alone")
    (folder / "assets.extra" / "export.json").write_text(json.dumps(describe(run, checkpoint, CaptionOptions())))
    return folder


def parts(card):
    """Front matter, and the text below it."""
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_has_the_scores_of_its_run_beside_those_of_the_constant_caption_and_of_people(
    export, tmp_path, capsys
):
    metrics = json.loads((tmp_path / "run" / "eval-dev" / "metrics.json").read_text())
    assert publish.main([str(export.parent), "--to", str(tmp_path / "birds"), "--license", "cc-by-4.0"]) == 0
    shown = capsys.readouterr().out
    assert shown == f"scores in the card: dev\npublished: {tmp_path / 'birds'}\n"
    front, text = parts((tmp_path / "birds" / "README.md").read_text())
    assert front["license"] == "cc-by-4.0" and front["pipeline_tag"] == "image-to-text"
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert model["name"] == "birds" and result["dataset"] == {"type": "flickr8k", "name": "flickr8k", "split": "dev"}
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values["cider"] == pytest.approx(metrics["cider"], abs=1e-4) and len(values) == 6
    row = next(line for line in text.splitlines() if line.startswith("| CIDEr-D"))
    assert (
        row
        == "| CIDEr-D | "
        + " | ".join(f"{scores['cider']:.3f}" for scores in (metrics, metrics["constant"], metrics["human"]))
        + " |"
    )
    assert display_text(metrics["constant"]["caption"]) in text and f'load("{tmp_path / "birds"}")' in text
    for heading in ("Use", "Data", "Scores", "Intended use", "Limits", "Licence"):
        assert f"\n## {heading}\n" in text
    assert {path.name for path in (tmp_path / "birds").rglob("*") if path.is_file()} == {
        *("saved_model.pb", "export.json", "README.md")
    }
    assert find_model(tmp_path / "birds").path == tmp_path / "birds"


def test_scores_of_another_checkpoint_are_not_those_of_the_export(export, tmp_path, capsys):
    file = tmp_path / "run" / "eval-dev" / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps(metrics | {"checkpoint": "run/checkpoints/last/ckpt-9", "cider": 9.0}))
    assert publish.main([str(export), "--to", str(tmp_path / "one")]) == 0
    front, text = parts((tmp_path / "one" / "README.md").read_text())
    (result,) = front["model-index"][0]["results"]  # export.json has them, without what to compare them with
    assert {each["type"]: each["value"] for each in result["metrics"]}["cider"] == round(metrics["cider"], 4)
    file.write_text(json.dumps(metrics))
    (tmp_path / "run" / "dataset.json").write_text("{}")  # of another run at that path
    assert publish.main([str(export), "--to", str(tmp_path / "three")]) == 0
    assert (tmp_path / "three" / "README.md").read_text() == (tmp_path / "one" / "README.md").read_text().replace(
        "/one", "/three"
    ).replace("name: one", "name: three").replace("# one", "# three")
    assert front["license"] == "unknown" and "people" not in text.lower().partition("## scores")[2].partition("##")[0]
    description = export / "assets.extra" / "export.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"dev": None}))
    assert publish.main([str(export), "--to", str(tmp_path / "two")]) == 0
    assert "scores in the card: none; the export was not evaluated" in capsys.readouterr().out
    front, text = parts((tmp_path / "two" / "README.md").read_text())
    assert "model-index" not in front and "It was not evaluated before it was published." in text


def test_what_cannot_be_published_is_refused_by_name(export, tmp_path, capsys):
    for arguments, message in (
        (
            [str(tmp_path / "run"), "--to", str(tmp_path / "new")],
            f"{tmp_path / 'run'}: is a run directory; export it f",
        ),
        ([str(export), "--to", str(tmp_path / "run")], f"--to {tmp_path / 'run'}: exists; remove it, or name a new f"),
        ([str(export), "--to", "hf://mine"], "hf://mine: a model on the Hugging Face Hub is named hf://OWNER/NAME"),
    ):
        assert publish.main(arguments) == 1
        assert capsys.readouterr().err.startswith(f"error: {message}")
    with pytest.raises(SystemExit):
        publish.main([str(export), "--to", str(tmp_path / "new"), "--license", "CC BY"])
    assert "--license CC BY: must be an abbreviation such as cc-by-4.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokenizer", "units"),
    [
        ({}, "words"),  # exports of earlier versions do not name it
        ({"tokenizer": "unicode"}, "words"),
        ({"tokenizer": "wordpiece:900"}, "pieces of words"),
        ({"tokenizer": "sentencepiece:0"}, "pieces of words"),
    ],
)
def test_a_card_calls_tokens_words_only_where_they_are(tokenizer, units):
    card = model_card("mine", tokenizer | {"vocabulary_size": 900}, [], address="mine")
    assert f"knows 900 {units}." in card and f"only with the {units} of its vocabulary" in card


def test_the_hub_reads_the_card(export, tmp_path):
    cards = pytest.importorskip("huggingface_hub")
    assert publish.main([str(export), "--to", str(tmp_path / "birds"), "--license", "mit"]) == 0
    card = cards.ModelCard.load(tmp_path / "birds" / "README.md")
    assert card.data.license == "mit" and card.data.library_name == "tfcaption"
    assert {result.metric_name for result in card.data.eval_results} >= {"CIDEr-D", "BLEU-4"}
