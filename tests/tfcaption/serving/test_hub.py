"""Exports on the Hugging Face Hub, by its own client against a server on this machine."""

import importlib
import sys

import pytest

import tfcaption
from tests.support.fake_export import expected_caption, write_export
from tests.support.hub import fake_hub
from tests.support.photos import encoded, picture
from tfcaption import caption
from tfcaption.runtime.errors import UsageError
from tfcaption.serving.hub import HubError, HubModel
from tfcaption.serving.model_folder import find_model

NOBODY = "http://127.0.0.1:9"  # where no server listens
EXPORT = {"saved_model.pb": b"", "assets.extra/export.json": b'{"image_size": 8, "resize": "pad", "search": {}}'}
constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def environment():
    """Sets variables that the client reads once, when it is imported; in the end they are as before."""
    with pytest.MonkeyPatch.context() as patch:

        def set_variables(**values):
            for name, value in values.items():
                patch.setenv(name, str(value))
            importlib.reload(constants)

        patch.delenv("HF_TOKEN", raising=False)
        yield set_variables
    importlib.reload(constants)


@pytest.fixture
def hub(tmp_path, environment):
    with fake_hub() as running:
        environment(HF_ENDPOINT=running.address, HF_HOME=tmp_path / "home", HF_HUB_OFFLINE=0)
        yield running


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_on_the_hub_captions_as_that_in_a_folder(hub, tmp_path, capsys):
    export = write_export(tmp_path / "export")
    hub.commit("me/colours", {**files_of(export), "README.md": b"# Colours", "pytorch_model.bin": b"large"})
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(picture(30, 20)))
    captioner = tfcaption.load("hf://me/colours")
    assert captioner.caption(photo).text == expected_caption(photo.read_bytes())
    assert caption.main(["hf://me/colours", str(photo)]) == 0
    assert capsys.readouterr().out == f"{photo}\t{expected_caption(photo.read_bytes())}\n"
    assert find_model("hf://me/colours").name == "colours"
    assert files_of(captioner.path) == files_of(export)  # nothing else was downloaded


def test_a_revision_keeps_its_files_and_the_newest_is_taken_where_none_is_named(hub):
    first = hub.commit("me/mine", EXPORT)
    hub.commit("me/mine", {**EXPORT, "saved_model.pb": b"newer"})
    for name, content in (("hf://me/mine", b"newer"), (f"hf://me/mine@{first}", b"")):
        assert (find_model(name).path / "saved_model.pb").read_bytes() == content


@pytest.mark.parametrize(
    ("variable", "value", "cure"),
    [
        ("HF_ENDPOINT", NOBODY, f"{NOBODY} cannot be reached; check the connection"),
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE forbids to download it; unset that once"),
    ],
)
def test_without_a_connection_the_cache_is_used(hub, environment, variable, value, cure):
    hub.commit("me/mine", EXPORT)
    path = find_model("hf://me/mine").path
    environment(**{variable: value})
    assert find_model("hf://me/mine").path == path
    with pytest.raises(HubError) as raised:
        find_model("hf://me/other")
    message = str(raised.value)
    assert message.startswith("hf://me/other: is not in the cache (") and cure in message and "\n" not in message


def test_what_cannot_be_downloaded_is_named_with_the_cure_in_one_line(hub):
    hub.commit("me/mine", EXPORT)
    hub.commit("me/text", {"README.md": b"", "model.safetensors": b""})
    hub.commit("me/gated", EXPORT)
    hub.gated.add("me/gated")
    for name, message in {
        "hf://me/none": "no such model at .*, or a private one; check the name; for a private one log in with `hf auth",
        "hf://me/mine@v7": "has no revision v7; name one that its page lists$",
        "hf://me/text": "has no saved_model.pb, so it is not an export of tfcaption; name another model$",
        "hf://me/gated": f"its owner grants access to it; ask for it at {hub.address}/me/gated, then log in",
    }.items():
        with pytest.raises(HubError, match=f"^{name}: {message}") as raised:
            find_model(name)
        assert "\n" not in str(raised.value)
    for name in ("hf://mine", "hf://me/mine/1", "hf://me/mine@", "hf://"):
        with pytest.raises(UsageError, match=f"^{name}: a model on the Hugging Face Hub is named hf://OWNER/NAME"):
            find_model(name)
    with pytest.raises(UsageError, match="^hf://me/a--b: not a name of the hub"):
        find_model("hf://me/a--b")


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_connection(hub, environment, tmp_path):
    hub.commit("me/mine", EXPORT)
    (tmp_path / "file").write_bytes(b"")
    environment(HF_HOME=tmp_path / "file" / "home")
    with pytest.raises(
        HubError, match=f"^hf://me/mine: .* name another folder than {tmp_path}/file/home by HF_"
    ) as raised:
        find_model("hf://me/mine")
    assert "connection" not in str(raised.value)


def test_an_upload_replaces_the_files_of_an_export_and_no_others(hub, tmp_path, environment):
    model = HubModel.parse("hf://me/mine")
    folder = tmp_path / "folder"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "README.md").write_text("# Card")
    (folder / "notes.txt").write_text("mine alone")
    with pytest.raises(HubError, match="^hf://me/mine: .* answers with status 401; log in with `hf auth login`"):
        model.upload(folder)
    assert not hub.models
    environment(HF_TOKEN=hub.token)
    assert model.upload(folder) == f"{hub.address}/me/mine"
    assert "me/mine" in hub.private  # until its owner shows it
    assert hub.files("me/mine")[1] == {".gitattributes": b"", "saved_model.pb": b"graph", "README.md": b"# Card"}
    hub.commit("me/mine", {**hub.files("me/mine")[1], "variables/old": b"", "picture.png": b""})
    model.upload(folder)
    assert hub.files("me/mine")[1].keys() == {".gitattributes", "saved_model.pb", "README.md", "picture.png"}
    environment(HF_ENDPOINT=NOBODY)
    with pytest.raises(HubError, match=r"^hf://me/mine: \w+: .*check the connection .*, and run the same command ag"):
        model.upload(folder)


def test_without_the_client_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"^huggingface_hub is not installed; pip install 'huggingface_hub"):
        find_model("hf://me/mine")
