"""What a path is called in messages."""

import pytest

from tfcaption.records.folder_kinds import describe_folder, exports_below


@pytest.mark.parametrize(
    ("files", "described"),
    [
        (["config.yaml", "dataset.json", "vocabulary.txt"], "a run directory"),
        (["saved_model.pb", "variables/variables.index"], "an export"),
        (["dataset.json", "train-00000-of-00001.tfrecord"], "a folder of records"),
        (["features.json"], "a folder of features"),
        (["features.incomplete.json"], "a folder of incomplete features"),
        (["captions.json"], "a folder of captions"),
        (["b/config.yaml", "a/config.yaml", "c/notes.txt"], "a folder above run directories (such as {folder}/a)"),
        (["1/saved_model.pb"], "a folder above exports (such as {folder}/1)"),
        (["a.JPG", "b.heic", "a.txt"], "a folder of photos"),
        (["a.txt", "b.txt", "c.jpg"], "a folder of .txt files"),
        (["README"], "a folder of files"),
        (["a/b/c.jpg"], "a folder of folders"),
        ([], "empty"),
    ],
)
def test_a_folder_is_called_by_what_it_holds(files, described, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert describe_folder(tmp_path) == described.format(folder=tmp_path)


def test_a_file_is_called_one(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.yaml").touch()
    found = [describe_folder(tmp_path / name) for name in ("a.jpg", "a.yaml", "b")]
    assert found == ["a photo", "a file", "missing"]


def test_in_a_store_numbered_exports_are_found_and_no_object_is_looked_at_for_a_message(tmp_path, monkeypatch):
    """A look at each object would be a request for each."""
    for name in ("9/saved_model.pb", "photos/a.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.setattr("tfcaption.records.folder_kinds.is_local", lambda path: False)
    monkeypatch.setattr("tfcaption.records.folder_kinds.sorted", None, raising=False)  # nothing is listed
    assert describe_folder(tmp_path / "photos") == describe_folder(tmp_path) == "a folder"
    assert describe_folder(tmp_path / "9") == "an export"
    monkeypatch.undo()
    monkeypatch.setattr("tfcaption.records.folder_kinds.is_local", lambda path: False)
    assert [path.name for path in exports_below(tmp_path)] == ["9"]


def test_numbered_exports_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("9", "10", "best", "11"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "11" / "saved_model.pb").unlink()  # half an export
    assert [path.name for path in exports_below(tmp_path)] == ["9", "10"]
    assert exports_below(tmp_path / "none") == exports_below(tmp_path / "9" / "saved_model.pb") == []
