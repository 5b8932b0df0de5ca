"""inspect finds every kind of damage in records, and shows photos."""

import json
import shutil

import pytest
from PIL import Image

from tests.support.records import rewrite
from tfcaption.inspect import main
from tfcaption.inspection.verification import inspect_records
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.examples import decode_record


@pytest.fixture
def copy(sample_records, tmp_path):
    return shutil.copytree(sample_records, tmp_path / "copy")


def test_intact_records_have_no_fault(sample_records, capsys):
    assert main([str(sample_records)]) == 0
    assert "no faults" in capsys.readouterr().out


def test_damaged_truncated_and_missing_shards_are_reported(copy, capsys):
    first, second, third = (copy / shard.name for shard in load_dataset_info(copy).splits["train"].shards)
    damaged = bytearray(first.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first.write_bytes(damaged)
    second.write_bytes(second.read_bytes()[:-9])
    third.unlink()
    assert main([str(copy)]) == 1
    error = capsys.readouterr().err
    for message in (f"{first.name}: record", f"{second.name}: record", f"{third.name}: no such file"):
        assert message in error


def test_a_photo_in_two_splits_is_reported(copy):
    info = load_dataset_info(copy)
    shard = info.splits["train"].shards[0]
    with (copy / shard.name).open("rb") as stream:
        stolen = decode_record(next(tfrecord.read_frames(stream, shard.name)))
    rewrite(copy, lambda read: read.__setitem__(0, stolen))
    assert any("is also in" in fault for fault in inspect_records(copy).faults)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda read: setattr(read[0], "jpeg", b"no photo"), "does not decode"),
        (lambda read: setattr(read[0], "token_ids", [[2, 9_999, 3]] * 5), "out of range"),
        (lambda read: setattr(read[0], "token_ids", [[2, 0, 3]] * 5), "out of range"),
        (lambda read: setattr(read[0], "token_ids", [[4, 5, 6]] * 5), "from <start> to <end>"),
        (lambda read: read.pop(), "readable records"),
    ],
)
def test_wrong_content_with_valid_checksums_is_reported(copy, change, message):
    rewrite(copy, change)
    assert any(message in fault for fault in inspect_records(copy).faults)


def test_a_missing_rejection_is_reported(copy):
    content = json.loads((copy / "dataset.json").read_text())
    content["rejected_photos"] = {"truncated": 1}
    (copy / "dataset.json").write_text(json.dumps(content))
    assert any("rejected.jsonl" in fault for fault in inspect_records(copy).faults)


def test_show_writes_a_picture_of_each_split(sample_records, tmp_path):
    assert main([str(sample_records), "--show", "5", "--output", str(tmp_path / "pictures")]) == 0
    for split in ("train", "dev", "test"):
        with Image.open(tmp_path / "pictures" / f"{split}.png") as image:
            assert image.width == 1040 and image.height > 2 * 260


def test_pictures_lie_beside_the_records_unless_a_folder_is_named_and_their_paths_are_printed(copy, capsys):
    assert main([str(copy), "--show", "2"]) == 0
    folder = copy.with_name("copy-pictures")
    assert sorted(path.name for path in folder.iterdir()) == ["dev.png", "test.png", "train.png"]
    assert f"picture: {folder / 'dev.png'}" in capsys.readouterr().out


def test_incomplete_records_are_called_incomplete(copy, capsys):
    (copy / "dataset.json").unlink()
    assert main([str(copy)]) == 1
    assert "dataset.json is missing, so these records are incomplete" in capsys.readouterr().err


def test_a_folder_of_something_else_is_called_what_it_is_and_never_to_be_overwritten(copy, tmp_path, capsys):
    folders = {name: tmp_path / name for name in ("empty", "photos", "run", "export", "captions")}
    for folder in folders.values():
        folder.mkdir()
    for name in ("a.jpg", "b.jpg", "a.txt"):
        (folders["photos"] / name).touch()
    shutil.copytree(copy, folders["run"], dirs_exist_ok=True)  # a run holds a copy of the records' description
    (folders["run"] / "config.yaml").touch()
    (folders["export"] / "saved_model.pb").touch()
    (folders["captions"] / "captions.json").touch()
    for name, kind in {
        "empty": "empty",
        "photos": "a folder of ",
        "run": "a run directory",
        "export": "an export",
        "captions": "a folder of captions",
    }.items():
        for flags in ([], ["--repair"]):
            assert main([str(folders[name]), *flags]) == 1
            error = capsys.readouterr().err.strip()
            assert error.startswith(f"error: {folders[name]}: is {kind}") and "--overwrite" not in error
            assert error.endswith("; name a folder that build_records or extract_features wrote")
    assert main([str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
