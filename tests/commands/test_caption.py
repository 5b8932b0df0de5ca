"""The caption command: its photos, their order and captions, and damaged photos."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.fake_export import BEAM, MeanColour, expected_caption, write_export
from tfcaption.caption import main
from tfcaption.preprocessing.photos import PhotoError, photos_below
from tfcaption.serving.exported_captioner import ExportedCaptioner, ExportError


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export") / "mean")


@pytest.fixture
def album(sample, tmp_path):
    """Twenty photos in two folders, and two files that are not photos."""
    photos = sorted(sample[0].iterdir())[:20]
    for index, photo in enumerate(photos):
        folder = tmp_path / "album" / ("a" if index % 2 else "b/c")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / f"{photo.stem}.{'JPG' if index < 3 else 'jpg'}")
    (tmp_path / "album" / "notes.txt").write_text("no photo")
    (tmp_path / "album" / "a" / "._x.jpg").write_bytes(b"hidden")
    return tmp_path / "album"


def all_photos(album):
    return sorted(path for path in album.rglob("*") if path.suffix.lower() == ".jpg" and path.name[0] != ".")


def test_photos_below_a_folder_are_sorted_without_hidden_and_other_files(album):
    (album / "link").symlink_to(album / "a")  # not followed, or a circle of links would never end
    assert photos_below(album) == all_photos(album) and len(all_photos(album)) == 20


def test_files_folders_and_standard_input_are_captioned_in_order(album, export, capsys, monkeypatch):
    first, second, *_ = all_photos(album)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{second}\n\n{album / 'a'}\n"))
    assert main([str(export), str(first), "--nbest=1", "-", str(album)]) == 0
    paths = [first, second, *(path for path in all_photos(album) if path.parent.name == "a"), *all_photos(album)]
    expected = [f"{path}\t{expected_caption(path.read_bytes())}" for path in paths]
    assert capsys.readouterr().out.splitlines() == expected
    assert len(set(expected)) == 20


def test_a_line_of_json_has_path_caption_score_and_n_best_list(album, export, capsys):
    path = all_photos(album)[0]
    assert main(["--model", str(export), "--json", "--nbest=2", str(path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    caption = expected_caption(path.read_bytes())
    answer = json.loads(line)
    assert list(answer) == ["path", "caption", "score", "nbest"] and answer["path"] == str(path)
    assert [hypothesis["caption"] for hypothesis in answer["nbest"]] == [caption, f"not {caption}"]
    assert answer["nbest"][0] == {"caption": caption, "score": answer["score"]}
    red = float(caption.split()[0])
    assert answer["score"] == pytest.approx(-red / 1000, abs=6e-4)
    assert main(["--model", str(export), "--nbest=2", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{path}\t{caption}", f"{path}\tnot {caption}"]


def test_damaged_photos_are_named_and_all_others_captioned(album, export, capsys):
    empty, cut, *good = all_photos(album)
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-200])
    assert main(["--model", str(export), str(album), "gone.jpg"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{path}\t{expected_caption(path.read_bytes())}" for path in good]
    lines = printed.err.splitlines()
    assert lines[0] == f"error: {empty}: empty file" and lines[1].startswith(f"error: {cut}: truncated")
    assert lines[2] == "error: gone.jpg: no such file"


def test_a_picture_shows_the_photo_above_its_caption(album, export, tmp_path, capsys):
    upright = Image.new("RGB", (30, 60), "red")
    exif = upright.getexif()
    exif[0x0112] = 6  # lies on its side
    for folder in ("a", "b"):
        upright.save(album / folder / "same.jpg", exif=exif)
    paths = [str(album / folder / "same.jpg") for folder in ("a", "b")]
    assert main(["--model", str(export), "--show", str(tmp_path / "shown"), *paths]) == 0
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {"same.jpg", "same-2.jpg"}
    pixels = np.asarray(Image.open(tmp_path / "shown" / "same-2.jpg"), np.int32)
    assert pixels.shape[1] == 640 and pixels.shape[0] > 320
    assert np.abs(pixels[:316] - [254, 0, 0]).max() < 12  # twice as wide as high, so turned
    below = pixels[328:]
    assert below[-1].min() > 245 and below.min() < 60  # black letters on white


def test_captions_of_a_photo_do_not_depend_on_the_batch_size(album, export):
    prepared, results = None, {}
    for size in (1, 7, 32):
        captioner = ExportedCaptioner(export, batch_size=size)
        prepared = prepared or [captioner.prepare(path.read_bytes()) for path in all_photos(album)]
        captions = captioner(prepared)
        results[size] = [(c.nbest[0].caption, round(c.nbest[0].score, 5)) for c in captions]
        assert {c.nbest[2].caption for c in captions} == {f"rows {size}"}  # every batch is full, also the last one
    assert results[1] == results[7] == results[32] and len(results[1]) == 20
    assert captioner([]) == []


def test_bytes_that_the_model_cannot_decode_are_an_error_at_their_position(album, export):
    captioner = ExportedCaptioner(export, batch_size=4)
    good = captioner.prepare(all_photos(album)[0].read_bytes())
    first, second, third = captioner([good, b"no photo", good])
    assert isinstance(second, PhotoError) and first == third and len(first.nbest) == BEAM


def test_the_fingerprint_of_an_export_depends_on_its_content_only(export, tmp_path):
    copy = shutil.copytree(export, tmp_path / "copy")
    fingerprint = ExportedCaptioner(export).fingerprint()
    (copy / "fingerprint.pb").write_bytes(b"holds a random number in each export")
    assert ExportedCaptioner(copy).fingerprint() == fingerprint
    (copy / "assets.extra" / "export.json").write_text(json.dumps({"image_size": 8, "resize": "crop", "beam": 3}))
    assert ExportedCaptioner(copy).fingerprint() != fingerprint


def test_a_folder_without_a_usable_export_is_named_with_the_fix(export, tmp_path, album, capsys):
    plain = tmp_path / "plain"
    tf.saved_model.save(MeanColour(), str(plain), signatures={})
    other = shutil.copytree(export, tmp_path / "other")
    tf.saved_model.save(tf.Module(), str(other))
    odd = shutil.copytree(export, tmp_path / "odd")
    (odd / "assets.extra" / "export.json").write_text("{}")
    damaged = shutil.copytree(export, tmp_path / "damaged")
    (damaged / "saved_model.pb").write_bytes(b"\x08\x01 no protocol buffer")
    for path, message in (
        (tmp_path / "none", "is missing, not an exported model; create one with tfcaption.export"),
        (plain, "a SavedModel, but not a captioner"),
        (other, "a SavedModel, but not a captioner"),
        (odd, "export.json: does not describe an export"),
        (damaged, "cannot be loaded"),
    ):
        with pytest.raises(ExportError) as raised:
            ExportedCaptioner(path)
        assert str(raised.value).startswith(str(path)) and message in str(raised.value), raised.value
    assert main(["--model", str(tmp_path / "none"), str(album)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none'}: no such folder; name a run")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "{export}", "--beam=2", "a.jpg"], 1, "--beam 2: {export} was exported with"),
        (["--model", "{export}", "--beam=2", "--nbest=3", "a.jpg"], 1, "--nbest 3: must be at most --beam 2"),
        (["--model", "{export}", f"--nbest={BEAM + 1}", "a.jpg"], 1, f"gives {BEAM} captions of each photo"),
        (["{export}"], 2, "such as runs/mine photo.jpg; there is only {export}"),
        (["--run=r", "--model=m", "a.jpg"], 2, "name one model, not r and m"),
        (["{export}", "--beam=2", "--top_p=0.9", "a.jpg"], 1, "--beam 2: there is no beam where --top_p samples"),
        (["{export}", "--checkpoint=last", "a.jpg"], 1, "--checkpoint last: {export} is an export"),
        (["{export}", "--no_repeat_ngram=2", "a.jpg"], 1, "export it again with --no_repeat_ngram 2"),
        (["{export}", "--seed=-1", "a.jpg"], 1, "--seed -1: must be at least 0"),
        (["{export}", "gone.jpg", "lost.jpg"], 1, "error: gone.jpg: no such file\nerror: lost.jpg: no such file\n"),
        (["a.jpg", "{export}"], 1, "error: a.jpg: no such folder; name a run directory or an export"),
        (["--model", "{export}", "{empty}"], 1, "no photo below it"),
    ],
)
def test_wrong_arguments_are_clear_errors(arguments, code, message, export, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfcaption.caption.start_tensorflow", lambda: pytest.fail("TensorFlow takes 4 s to start"))
    filled = [argument.format(export=export, empty=tmp_path) for argument in arguments]
    try:
        assert main(filled) == code
    except SystemExit as stopped:
        assert stopped.code == code
    assert message.format(export=export) in capsys.readouterr().err


def test_captions_of_a_run_are_the_n_best_of_its_beam_search(sample, trained_run, capsys):
    """The captions equal those of a search photo by photo, from pixels that Pillow decoded."""
    from tfcaption.decoding.beam_search import SearchOptions, beam_search
    from tfcaption.preprocessing import photos
    from tfcaption.preprocessing.tokenizer import Tokenizer
    from tfcaption.runs.checkpoints import load_captioner
    from tfcaption.runs.directory import load_run

    paths = sorted(sample[0].iterdir())[:2]
    arguments = ["--checkpoint=last", "--beam=4", "--nbest=3", "--no_repeat_ngram=2", "--length_alpha=1", "--json"]
    assert main([str(trained_run), *map(str, paths), *arguments]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    loaded = load_run(trained_run)
    captioner, _ = load_captioner(loaded, "last")
    tokenizer = Tokenizer(loaded.vocabulary)
    for path, line in zip(paths, lines, strict=True):
        jpeg = photos.prepare_photo(path.read_bytes(), image_size=32, resize="squash")
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)))[None]
        options = SearchOptions(loaded.info.max_length, 4, length_alpha=1.0, no_repeat_ngram=2)
        found = beam_search(captioner, captioner.encode(pixels), options)
        expected = [caption.decode() for caption in tokenizer.decode(found.tokens[0]).numpy()[:3]]
        assert line["path"] == str(path) and [hypothesis["caption"] for hypothesis in line["nbest"]] == expected
        scores = [hypothesis["score"] for hypothesis in line["nbest"]]
        np.testing.assert_allclose(scores, found.scores[0, :3], atol=1e-3)
        assert scores == sorted(scores, reverse=True)
