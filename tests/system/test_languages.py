"""Captioners of Chinese and Arabic: from drawn photos and captions to scores, a report, an export and the server."""

import json
import random
import subprocess

import pytest

from tests.conftest import IN_MEMORY, extracted
from tests.support.runs import config, train
from tests.support.wordings import arabic, chinese
from tests.tfcaption.serving.test_http_server import serving
from tfcaption import evaluate, export, report
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.sample.drawing import draw_scene
from tfcaption.sample.scenes import random_scene
from tfcaption.serving.model_folder import find_model

PHOTOS = 40
LANGUAGES = {"chinese": (chinese, "unicode"), "arabic": (arabic, "words")}


def write_data_set(folder, describe):
    """Photos, and captions.jsonl."""
    (folder / "photos").mkdir(parents=True)
    generator = random.Random(0)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as stream:
        for index in range(PHOTOS):
            scene = random_scene(generator)
            draw_scene(scene, generator).save(folder / "photos" / f"{index:02}.jpg")
            for caption in describe(scene):
                line = {"image": f"{index:02}.jpg", "caption": caption}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_captioner_learns_a_language_and_says_it_everywhere(language, tmp_path, capsys, shared_extractors):
    from beam_jobs.build_records import main as build_records

    describe, tokenizer = LANGUAGES[language]
    write_data_set(tmp_path, describe)
    arguments = ["--images", str(tmp_path / "photos"), "--captions", str(tmp_path / "captions.jsonl")]
    arguments += ["--output", str(tmp_path / "records"), "--tokenizer", tokenizer, "--image_size=64", "--min_count=1"]
    assert build_records([*arguments, *IN_MEMORY]) == 0
    assert load_dataset_info(tmp_path / "records").split("train").oov_rate == 0
    features = extracted(tmp_path / "records", tmp_path / "map", "map", *IN_MEMORY)
    sizes = {"gru_units": 128, "dense_units": 128, "dropout": 0.0}
    settings = config(tmp_path / language, tmp_path / "records", 60, features, decoder="attention", **sizes)
    settings.data.batch_size_photos = 4
    settings.train.learning_rate, settings.train.early_stopping_epochs = 2e-3, 60
    run = str(train(settings))
    assert evaluate.main([run, "--split", "train", "--checkpoint", "last"]) == 0
    metrics = json.loads((tmp_path / language / "eval-train" / "metrics.json").read_text())
    assert metrics["score_tokenizer"] == {"words": "treebank", "unicode": "unicode"}[tokenizer]
    assert metrics["bleu_4"] > 0.6  # of photos that it has seen: it has learnt to say what it was told
    lines = [
        json.loads(line) for line in (tmp_path / language / "eval-train" / "captions.jsonl").open(encoding="utf-8")
    ]
    said = {line["id"]: line["caption"] for line in lines}
    known = {caption.rstrip("。.") for line in lines for caption in line["references"]}
    assert sum(caption in known for caption in said.values()) > PHOTOS / 4

    assert report.main([run, "--split", "train", "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert all(f'dir="auto">{caption}<' in page for caption in list(said.values())[:5])

    assert export.main([run, "--output", str(tmp_path / "export"), "--checkpoint", "last"]) == 0
    captioner = find_model(tmp_path / "export").open(CaptionOptions().as_json(), batch_size=1, padded=True)
    with serving(captioner) as port:
        for photo, caption in list(said.items())[:3]:
            command = [
                "curl",
                "-s",
                "--data-binary",
                f"@{tmp_path / 'photos' / photo}",
                f"127.0.0.1:{port}/v1/captions",
            ]
            answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            assert answer["captions"][0]["caption"] == caption
    capsys.readouterr()
