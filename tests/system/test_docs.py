"""README, docs/ and CHANGELOG name only files, commands, options and config fields that exist."""

import argparse
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

import tfcaption
from tests.support import config_page
from tests.support.commands import MODULES
from tfcaption.config import Config, load_config, named_configs

ROOT = Path(__file__).parents[2]
SITE = ROOT / "mkdocs.yml"
README = ROOT / "README.md"
DOCS = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md"]
PAGES = [*DOCS, ROOT / "beam_jobs" / "dataflow" / "README.md"]
COMMANDS = set(MODULES.values())
ENTRY_POINTS = {"tfcaption.sources", "tfcaption.commands"}  # groups of entry points, named like modules
# Of Apache Beam and TensorFlow Serving, named in the text.
FOREIGN_OPTIONS = {
    *("--runner", "--direct_running_mode", "--direct_num_workers", "--dry_run", "--setup_file", "--sdk_"),
    *("--flink_job_server_jar", "--spark_job_server_jar", "--enable_batching", "--environment_cache_millis"),
}
SECTIONS = {name: field.annotation for name, field in Config.model_fields.items() if name != "run"}


def named(path):
    return str(path.relative_to(ROOT))


@cache
def read(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language=""):
    """The fenced code blocks of one language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", read(path), re.M | re.S)
    return [text for of_language, text in fenced if of_language == language]


def spans(path):
    """The inline code spans."""
    text = re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(path):
    """The documented commands of ours, split into words; `tfcaption NAME ...` as `python -m MODULE ...`."""
    lines = [line for block in blocks(path) for line in block.replace("\\\n", " ").splitlines()]
    return [words for text in [*lines, *spans(path)] if (words := command_in(text))]


def command_in(text):
    """A command of ours, split into words; None for other text."""
    name = re.match(r"tfcaption ([a-z]\w*)( |$)", text)
    if name:
        assert name[1] in MODULES, text
        text = text.replace(f"tfcaption {name[1]}", f"python -m {MODULES[name[1]]}", 1)
    if not text.startswith(("python -m tfcaption.", "python -m beam_jobs.")):
        return None
    return shlex.split(text, comments=True)


class Parsing(Exception):
    """A command is about to parse its arguments with this parser."""


@cache
def parser_of(module):
    """The argument parser of a command."""

    def stop(parser, *_):
        raise Parsing(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop), pytest.raises(Parsing) as raised:
        importlib.import_module(module).main([])
    return raised.value.args[0]


def options(parser):
    """All options of a parser and its subcommands."""
    subparsers = [
        subparser
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for subparser in action.choices.values()
    ]
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*map(options, subparsers))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_point_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", read(file), re.M) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_and_configs_that_are_named_exist(page):
    paths = re.findall(r"(?<![\w./])(?:tfcaption|beam_jobs|configs|docs|tests)/[\w./]*\w", read(page))
    paths += [f"configs/{name}.yaml" for name in spans(page) if re.fullmatch(r"flickr8k_[a-z_]+", name)]
    missing = {path for path in paths if not list(ROOT.glob(path.replace("NAME", "*")))}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_and_their_names_that_are_named_exist(page):
    text = "\n".join([*spans(page), *blocks(page), *blocks(page, "python")])
    for dotted in {*re.findall(r"(?<![\w./-])(?:tfcaption|beam_jobs)(?:\.[A-Za-z]\w*)+", text)} - ENTRY_POINTS:
        module, *names = dotted.split(".")
        file = ROOT / module
        while names and ((file / names[0]).is_dir() or (file / f"{names[0]}.py").is_file()):
            file /= names.pop(0)
        if names:
            source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
            assert re.search(rf"\b{names[0]}\b", read(source)), dotted


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_commands_that_are_shown_can_be_parsed(page, capsys):
    for _, _, module, *arguments in commands(page):
        assert module in COMMANDS
        if not arguments:  # the command is only named
            continue
        arguments = [word for word in arguments if not word.startswith("$")]  # options in a variable of the shell
        try:
            parsed, unknown = parser_of(module).parse_known_args(arguments)
        except SystemExit as end:
            assert end.code == 0, capsys.readouterr().err  # 0: --help
            continue
        if unknown and module.startswith("beam_jobs."):
            importlib.import_module("beam_jobs.execution.options").beam_options(unknown, output="gs://bucket/output")
        else:
            assert not unknown, (module, unknown)
        configs = [name for name in (getattr(parsed, "config", None),) if name] + list(getattr(parsed, "configs", ()))
        for config in configs:
            load_config(config if config in named_configs() else ROOT / config, vars(parsed).get("set") or ())


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_options_that_are_named_belong_to_a_command(page):
    known = FOREIGN_OPTIONS.union(*(options(parser_of(module)) for module in COMMANDS))
    for span in spans(page):
        if span.startswith(("--", "extract_features --", "evaluate --")):
            assert {*re.findall(r"(?<!\S)--[\w-]+", span)} <= known, span


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_config_fields_that_are_named_exist(page):
    pattern = rf"({'|'.join(SECTIONS)})\.(\w+)"
    fields = {match.groups() for span in spans(page) for word in span.split() if (match := re.match(pattern, word))}
    fields = {
        field for field in fields if field[1] not in ("png", "py", "predict", "csv", "json", "view1")
    }  # no fields
    fields |= {*re.findall(rf"\b{pattern}=", read(page))}
    assert not {f"{section}.{field}" for section, field in fields if field not in SECTIONS[section].model_fields}


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_run_book_of_a_config_can_be_parsed(config):
    header = "".join(line[1:] + "\n" for line in read(config).splitlines() if line.startswith("#"))
    lines = [line.strip() for line in header.replace("\\\n", " ").splitlines()]
    shown = [words for line in lines if (words := command_in(line))]
    for _, _, module, *arguments in shown:
        assert not parser_of(module).parse_known_args(arguments)[1]
    assert config.stem.startswith("sample_") or shown[-1][-1] == config.stem


def test_the_page_of_the_configs_is_current():
    assert read(config_page.PAGE) == config_page.page(), "make docs writes it again"


@pytest.fixture
def readers_folder(sample, sample_records, pooled, tmp_path, monkeypatch):
    """A folder with the names that the pages use: records/, features/pooled, new.jpg, files of COCO."""
    (tmp_path / "features").mkdir()
    (tmp_path / "records").symlink_to(sample_records)
    (tmp_path / "features" / "pooled").symlink_to(pooled)
    shutil.copy(next(sample[0].glob("*.jpg")), tmp_path / "new.jpg")
    (tmp_path / "results.json").write_text('[{"image_id": 1, "caption": "a dog runs"}]')
    annotations = {"annotations": [{"image_id": 1, "caption": "A dog runs ."}, {"image_id": 2, "caption": "A cat ."}]}
    (tmp_path / "captions_val2014.json").write_text(json.dumps(annotations))
    monkeypatch.chdir(tmp_path)


def test_python_examples_compile():
    for page in DOCS:
        for block in blocks(page, "python"):
            compile(block, named(page), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page, "python")], ids=named)
def test_python_examples_run(page, readers_folder, trained_run):
    if ".fit(" not in read(page):  # the page trains no run of its own
        Path("runs").mkdir()
        Path("runs/mine").symlink_to(trained_run)
    for block in blocks(page, "python"):
        exec(compile(block, named(page), "exec"), {})


@cache
def code():
    """The code of both packages, with string literals that stand one below the other made one."""
    files = [path for package in ("tfcaption", "beam_jobs") for path in (ROOT / package).rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(map(read, files)))


def test_messages_that_are_explained_are_those_of_the_code():
    messages = blocks(ROOT / "docs" / "troubleshooting.md", "text")
    assert messages
    for message in messages:
        assert not [part for part in message.strip().split("...") if part not in code()], message


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """Strict: each page is in the contents, and each link, anchor and name of the Python API exists."""
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", SITE, "--site-dir", tmp_path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in (ROOT / "docs").glob("*.md"):
        text = read(tmp_path / page.with_suffix(".html").name)
        foreign = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="?(https?://[^">]+)', text)
        assert not foreign, "a page asks for files of another server"
        assert not re.search(r"<(?:pad|oov|start|end)>", text), "a token that the page takes for a tag of HTML"
    api = read(tmp_path / "api.html")
    assert not [name for name in tfcaption.__all__ if f'id="tfcaption.{name}"' not in api]


def test_each_page_is_in_the_contents_of_the_site():
    listed = re.findall(r": (\w+\.md)$", read(SITE), re.M)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_readme_is_short():
    lines = read(README).splitlines()
    prose = re.sub(r"^```.*?^```$", "", read(README), flags=re.M | re.S).splitlines()
    assert len(lines) <= 180
    assert not [line for line in prose if len(line) > 120 and not line.startswith("|")]


def test_the_readme_names_every_command():
    text = read(README)
    assert not [name for name in MODULES if not re.search(rf"\b{name}\b", text)]


def test_the_page_for_contributors_lists_every_room():
    (tree,) = [block for block in blocks(ROOT / "docs" / "contributing.md") if block.startswith("tfcaption/\n")]
    for package in ("tfcaption", "beam_jobs"):
        listed = re.search(rf"^{package}/\n((?:  .*\n)+)", tree, re.M)[1]
        rooms = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
        assert set(re.findall(r"^  (\w+)/", listed, re.M)) == rooms
