"""Configs: typed, strict, overridable, and the same after a round trip."""

import json
import os
from pathlib import Path

import pytest
import yaml

from tfcaption import configs
from tfcaption.config import (
    Config,
    ConfigError,
    TrainConfig,
    describe_config,
    find_config,
    load_config,
    named_configs,
    save_config,
)

CONFIGS = sorted(named_configs().values())


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("run: runs/x\ntrain:\n  learning_rate: 1e-4\n")
    return file


def test_files_and_overrides_are_read_by_the_type_of_the_field(path):
    config = load_config(path, ["train.epochs=3", "model.glove=null", "data.length_buckets=5", "train.xla=true"])
    assert config.train.learning_rate == 1e-4 and config.train.epochs == 3
    assert config.model.glove is None and config.data.length_buckets == 5 and config.train.xla is True
    assert load_config(path, ["train.learning_rate=2e-3"]).train.learning_rate == 2e-3


TEXTS = (
    *(
        "2024-05-01",
        "2024-05-01 12:00:00",
        "123",
        "007",
        "1e5",
        "1_000",
        "0o17",
        "0x1f",
        "1:30",
        ".5",
        ".inf",
        "=",
        "2024-02-30",
    ),
    *("yes", "No", "on", "OFF", "true", "y"),
)
# A file must quote these, which have a meaning in YAML.
MARKED = (
    "runs/a #1",
    "#1",
    "[1]",
    "{a}",
    "*",
    "&a",
    "!x",
    "%a",
    "@a",
    "a: b",
    "a:",
    "- a",
    "?",
    "|",
    ">",
    "it's",
    "a\nb",
    "\\",
)


@pytest.mark.parametrize("text", [*TEXTS, *MARKED])
def test_a_field_of_text_takes_the_text_as_it_is_written(text, path):
    for written in (text, json.dumps(text)):  # quoted as YAML allows
        config = load_config(path, [f"run={written}", f"data.features={written}"])
        assert (config.run, config.data.features) == (text, text)
    if text in TEXTS:
        path.write_text(f"run: {text}\nmodel: {{glove: {text}}}\ntrain: {{seed: 1_000}}\n")
        config = load_config(path)
        assert (config.run, config.model.glove, config.train.seed) == (text, text, 1000)
    save_config(config := load_config(path, [f"run={text}"]), path)
    assert load_config(path) == config


def test_null_is_null_where_a_field_of_text_may_be_null_and_text_elsewhere(path):
    path.write_text("run: null\ndata: {features: null, records: ~}\nmodel: {glove: , weights: 'null'}")
    config = load_config(path, ["train.start_from=null"])
    assert (config.run, config.data.records, config.model.weights) == ("null", "~", "null")
    assert config.data.features is config.model.glove is config.train.start_from is None
    assert load_config(path, ["run=null", "model.glove='null'", "model.weights=~", "data.features="]).model_dump() == (
        load_config(path, {"model.glove": "null", "model.weights": None}).model_dump()
    )
    with pytest.raises(ConfigError, match="--set run=: run: Input should be a valid string"):
        load_config(path, ["run="])


def test_a_base_may_be_named_like_a_date(tmp_path):
    (tmp_path / "2024-05-01").write_text("train: {epochs: 2}")
    (tmp_path / "mine.yaml").write_text("base: 2024-05-01")
    assert load_config(tmp_path / "mine.yaml").train.epochs == 2


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_in_the_repository_is_valid_and_survives_a_round_trip(file, tmp_path):
    config = load_config(file)
    save_config(config, tmp_path / "copy.yaml")
    assert load_config(tmp_path / "copy.yaml") == config
    assert file.stem.endswith(Path(config.run).name) or file.stem == "small"


def test_a_config_says_only_what_differs_from_its_base(tmp_path):
    (tmp_path / "whole.yaml").write_text("run: runs/a\ndata: {records: r}\nmodel: {dropout: 0.1, gru_units: 8}\n")
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "second.yaml").write_text("base: ../whole.yaml\nrun: runs/b\nmodel: {dropout: 0.2}\n")
    (folder / "third.yaml").write_text("base: second.yaml\ntrain: {epochs: 2}\n")
    written_out = tmp_path / "written_out.yaml"
    written_out.write_text("run: runs/b\ndata: {records: r}\nmodel: {dropout: 0.3, gru_units: 8}\ntrain: {epochs: 2}\n")
    assert load_config(folder / "third.yaml", ["model.dropout=0.3"]) == load_config(written_out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: none.yaml", "none.yaml, the base of .*config.yaml: no such config file"),
        ("base: config.yaml", "its own base"),
        ("base: ../{folder}/config.yaml", "its own base"),
        ("base: [config.yaml]", "base: must be the name of a config file"),
        ("base:", "base: must be the name of a config file, not None"),
    ],
)
def test_a_base_that_cannot_be_read_is_an_error_that_names_the_file(path, text, message):
    path.write_text(text.format(folder=path.parent.name))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 2}", "unknown key train.epoch, did you mean train.epochs"),
        ("model: {dropout: 2}", "model.dropout: "),
    ],
)
def test_a_mistake_in_a_base_is_reported_under_the_name_of_the_base(tmp_path, text, message):
    (tmp_path / "shared.yaml").write_text(text)
    (tmp_path / "run.yaml").write_text("base: shared.yaml\nmodel: {dropout: 0.2}\n")
    with pytest.raises(ConfigError, match=rf"shared\.yaml: {message}"):
        load_config(tmp_path / "run.yaml")


def test_there_is_a_config_for_each_variant_on_flickr8k_and_the_sample():
    assert {file.stem for file in CONFIGS} >= {
        *("flickr8k_frozen", "flickr8k_finetuned", "sample_frozen", "sample_finetuned", "sample_attention", "small")
    }


def test_a_bare_name_is_a_config_of_tfcaption_in_any_folder_and_all_else_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, file in named_configs().items():
        assert file.is_file() and find_config(name) == file and load_config(name) == load_config(file)
    Path("small").write_text("run: runs/other")
    Path("mine").write_text("base: small\ntrain: {epochs: 3}")
    assert find_config("small") == named_configs()["small"]
    assert load_config("./small").run == "runs/other"
    mine = load_config("mine")  # its base is the config of tfcaption
    assert mine.train.epochs == 3 and mine.run == load_config("small").run != "runs/other"


@pytest.mark.parametrize("name", named_configs())
def test_a_config_that_is_printed_into_a_file_of_any_folder_is_the_same_config(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert configs.main([name]) == 0
    Path("my.yaml").write_text(capsys.readouterr().out)
    assert load_config("my.yaml") == load_config(name)


def test_a_section_with_nothing_under_it_leaves_all_its_fields_as_they_are(tmp_path):
    (tmp_path / "whole.yaml").write_text("train: {epochs: 2}\nmodel:\n")
    path = tmp_path / "mine.yaml"
    path.write_text("base: whole.yaml\ntrain:\n  # epochs: 3\ndata:\n")
    assert load_config(path) == load_config(tmp_path / "whole.yaml")
    assert load_config(path, ["train.learning_rate=0.5"]).train == TrainConfig(epochs=2, learning_rate=0.5)
    path.write_text("run:\n")
    with pytest.raises(ConfigError, match="mine.yaml: run: Input should be a valid string, not None"):
        load_config(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flickr8k_frozn", "no such config file; did you mean flickr8k_frozen?"),
        ("configs/flickr8k_frozen.yaml", "no such config file; did you mean flickr8k_frozen?"),
        ("flickr8k_frozen.yaml", "no such config file; did you mean flickr8k_frozen?"),
        ("mine", "no such config file; did you mean mine.yaml?"),
        ("xyzzy", "no such config file; those that come with tfcaption are flickr8k_attention, "),
        ("xyzzy.yaml", "no such config file; `tfcaption configs` lists those that come with tfcaption"),
        (".", "is a folder; name a YAML file, or a config that `tfcaption configs` lists"),
        (os.devnull, "is not a regular file; name a YAML file, or a config that `tfcaption configs` lists"),
    ],
)
def test_a_config_that_cannot_be_found_is_an_error_that_suggests_one(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert str(caught.value).startswith(f"{name}: {message}")


def test_every_field_has_a_description_and_is_shown_with_its_type():
    text = describe_config()
    assert yaml.safe_load(text) == Config().model_dump()
    for section in (Config, *(type(getattr(Config(), name)) for name in ("data", "model", "train"))):
        for name, field in section.model_fields.items():
            if name not in ("data", "model", "train"):
                first = (field.description or "").split()[:4]
                assert first and f"# {' '.join(first)}" in text, name
    assert "\n  epochs: 12  # integer > 0\n" in text
    assert "\n  decoder: gru  # gru | attention | transformer\n" in text
    assert "\n  glove: null  # text or null\n" in text
    assert "\n  cache: auto  # true | false | auto\n" in text
    assert "\n  dropout: 0.3  # number >= 0, < 1\n" in text


@pytest.mark.parametrize("name", named_configs())
def test_a_config_that_is_described_reads_back_unchanged_and_names_the_defaults_it_replaces(name, tmp_path):
    config = load_config(name)
    (tmp_path / "copy.yaml").write_text(describe_config(config))
    assert load_config(tmp_path / "copy.yaml") == config
    assert f"run: {config.run}  # text; default: runs/captioner" in describe_config(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "unknown key train.epoch, did you mean train.epochs?"),
        ("trian.epochs=3", "unknown key trian, did you mean train?"),
        ("learning_rate=1e-3", "unknown key learning_rate, did you mean train.learning_rate?"),
        ("learning_rte=1e-3", "unknown key learning_rte, did you mean train.learning_rate?"),
        ("train.dropout=0.2", "unknown key train.dropout, did you mean model.dropout?"),
        ("xyzzy=1", "unknown key xyzzy; known keys: run, data, model, train"),
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=2.5", "train.epochs"),
        ("model.variant=thawed", "model.variant"),
        ("train.xla=perhaps", "train.xla"),
        ("train.epochs", "write KEY=VALUE"),
        ('run="a', "while scanning a quoted scalar in "),
        ("run.name=x", "run is a field"),
    ],
)
def test_mistakes_are_errors_that_name_the_field(path, override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    assert str(caught.value).startswith(f"--set {override}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_is_reported_under_the_override_or_the_file_that_made_it(path):
    path.write_text("train: {epoch: 2}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["model.dropout=2", "run=x"])
    in_override, in_file = str(caught.value).split("; ")
    assert in_override.startswith("--set model.dropout=2: model.dropout: ")
    assert in_file == f"{path}: unknown key train.epoch, did you mean train.epochs?"


def test_overrides_from_python_are_values_and_errors_name_them_without_the_option(path):
    config = load_config(path, {"train.epochs": 3, "run": "runs/3", "model.glove": None})
    assert (config.train.epochs, config.run, config.train.learning_rate) == (3, "runs/3", 1e-4)
    with pytest.raises(ConfigError, match="^train.epoch=3: unknown key train.epoch, did you mean train.epochs"):
        load_config(path, {"train.epoch": 3})


def test_missing_and_malformed_files_are_clear_errors(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("train: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("just words")
    with pytest.raises(ConfigError, match="must hold sections"):
        load_config(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:pathlib.Path.touch [{path}]",
        "!!python/object/apply:os.system ['touch {path}']",
        "!!python/object/new:pathlib.Path [{path}]",
        "!!python/name:os.system",
        "[" * 1_000,
    ],
)
def test_yaml_that_makes_objects_or_has_no_end_is_an_error_and_does_nothing(tmp_path, value):
    path = tmp_path / "made"
    value = value.replace("{path}", str(path))
    (tmp_path / "bad.yaml").write_text(f"run: {value}")
    with pytest.raises(ConfigError, match="bad.yaml: not YAML"):
        load_config(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="--set train.seed="):
        load_config(CONFIGS[0], [f"train.seed={value}"])
    assert load_config(CONFIGS[0], [f"run={value}"]).run == value
    assert not path.exists()


def test_a_config_that_is_not_utf_8_is_an_error_that_names_it(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"run: caf\xe9")
    with pytest.raises(ConfigError, match="bad.yaml: not YAML"):
        load_config(tmp_path / "bad.yaml")
