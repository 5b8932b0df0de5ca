"""Arbitrary and damaged bytes for every reader, by the hundred: nothing comes out but what each says that it gives."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.sources import reader
from tests.support import hostile
from tests.support.photos import encoded, picture
from tests.support.tars import sample, write_tar
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import Rejection, rejected_lines
from tfcaption.records.examples import PhotoRecord, encode_record, feature_record

some = settings(max_examples=200, deadline=None, derandomize=True, database=None)
many = pytest.mark.parametrize("examples", [100, pytest.param(2_000, marks=pytest.mark.slow)])

LINES = b"a.jpg#0\tA dog .\r\na.jpg#1\tIt runs .\nb.jpg#0\tA caf\xc3\xa9 .\n"
TABLE = b'image,caption,split\na.jpg,"A dog, ""red""",train\nb.jpg,A cat,val\n'
SOUND = {
    "flickr8k": LINES,
    "flickr30k": LINES,
    "karpathy": json.dumps(
        {"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A dog ."}, {"raw": "Two ."}]}]}
    ).encode(),
    "coco": json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [{"id": 1, "image_id": 1, "caption": "A dog ."}, {"image_id": 1, "caption": "Two ."}],
        }
    ).encode(),
    "folder": b"A dog .\nIt runs .\n",
    "csv": TABLE,
    "tsv": TABLE.replace(b",", b"\t"),
    "txt": b"image|caption\na.jpg| A dog\nc.png| A cat\n",
    "jsonl": b'{"image": "a.jpg", "captions": ["A dog .", "Two ."], "split": "dev"}\n{"image": "b.jpg", "text": "x"}\n',
}


def tar_bytes():
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        return write_tar(file.name, *sample("a", "One .", caption="Two ."), *sample("b", "Three .")) and file.read()


SOUND["webdataset"] = tar_bytes()
IMAGES = {
    **{kind: encoded(picture(40, 30), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")},
    "prepared": encoded(picture(32, 32), "JPEG", quality=95),
    "progressive": encoded(picture(32, 32), "JPEG", progressive=True),
    "palette": encoded(picture(40, 30).convert("P")),
    "CMYK": encoded(picture(40, 30).convert("CMYK"), "JPEG"),
}
RECORD = PhotoRecord(photo_id="é.jpg", jpeg=b"\xff\xd8", captions=["A dog .", "B"], token_ids=[[2, 4, 5, 3], [2, 3]])

changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=5)


def damaged(data, edits):
    """`data` with pieces of it replaced, each by (place, bytes taken away, bytes put in)."""
    for place, taken, put in edits:
        place %= len(data) + 1
        data = data[:place] + put + data[place + taken :]
    return data


def damage_of(*contents):
    """Strategy: arbitrary bytes, one of `contents` damaged, or one cut short."""
    sound = st.sampled_from(contents)
    cut = st.builds(lambda data, share: data[: int(share * len(data))], sound, st.floats(0, 1))
    return st.one_of(st.builds(damaged, sound, changes), st.binary(max_size=300), cut)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where captions of any kind find photos; without other packages' layouts, which take longer to look for."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile.photo_folder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "entry_points", lambda group: [])
        yield folder


@many
@pytest.mark.parametrize("layout", hostile.CAPTION_FILES)
def test_any_captions_are_read_or_rejected_by_name_and_none_is_lost(folder, layout, examples):
    outcomes = set()

    @settings(some, max_examples=examples)
    @given(damage_of(SOUND[layout]), st.one_of(st.just(b""), damage_of(b"a.jpg\nb.jpg\n")))
    def check(data, splits):
        outcomes.add(type(hostile.check_captions(folder, layout, data, splits)).__name__)

    assert len(hostile.check_captions(folder, layout, SOUND[layout]).photos) > 0
    check()
    assert outcomes == {"ReadDataSet", "SourceError"}


KEYS = ["image", "caption", "captions", "split", "images", "annotations", "id", "image_id", "file_name"]
KEYS += ["filename", "sentences", "raw"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@many
@pytest.mark.parametrize("layout", ["karpathy", "coco", "jsonl"])
def test_any_json_is_read_or_rejected_by_name_and_none_is_lost(folder, layout, examples):
    @settings(some, max_examples=examples)
    @given(json_values, json_values, st.booleans())
    def check(one, other, whole):
        value = {"images": [one], "annotations": [other]} if whole else one
        hostile.check_captions(folder, layout, json.dumps(value).encode())

    check()


@some
@given(damage_of(*IMAGES.values()), st.sampled_from(["squash", "crop", "pad"]))
def test_any_bytes_give_a_photo_of_the_right_size_or_a_reason(data, resize):
    hostile.check_photo(data, resize=resize)


@pytest.mark.parametrize("kind", IMAGES)
def test_sound_photos_of_every_kind_are_prepared(kind):
    assert hostile.check_photo(IMAGES[kind]) == ("kept" if kind == "prepared" else "prepared")


@some
@given(damage_of(IMAGES["prepared"], IMAGES["progressive"]))
def test_tensorflow_decodes_whatever_is_stored(data):
    """A JPEG that Pillow forgives and TensorFlow does not would end a training hours later."""
    from tfcaption.input_pipeline.parsing import decode_jpeg
    from tfcaption.preprocessing.photos import PhotoError, prepare_photo

    try:
        stored = prepare_photo(data, image_size=32, resize="squash")
    except PhotoError:
        return
    assert decode_jpeg(stored).shape == (32, 32, 3)


@some
@given(damage_of(encode_record(RECORD), feature_record(encode_record(RECORD), b"\0\0")))
def test_any_bytes_give_a_record_or_a_record_error(data):
    hostile.check_record(data)


FRAMES = [encode_record(RECORD), b"", b"second"]


@some
@given(damage_of(b"".join(map(tfrecord.frame_record, FRAMES))))
def test_a_damaged_shard_gives_the_true_records_up_to_an_error(data):
    found, whole = hostile.check_shard(data)
    assert found == FRAMES[: len(found)] and (whole or data)


@pytest.mark.parametrize("target", [*hostile.CAPTION_FILES, "photo", "record", "shard"])
def test_inputs_that_the_fuzzer_kept_do_no_harm(target, tmp_path):
    check = hostile.targets(tmp_path)[target]
    kept = sorted((Path(__file__).parents[1] / "corpus" / target).iterdir())
    assert kept
    for path in kept:
        check(path.read_bytes())


def test_names_that_are_no_text_are_named_all_the_same(tmp_path):
    """File systems hold names in any encoding, and JSON spells halves of characters."""
    name = b"caf\xe9.jpg".decode(errors="surrogateescape") + "\u2028\x85\x0b"
    rejection = Rejection(kind="photo", id=name, reason="no captions")
    (line,) = rejected_lines([rejection]).encode().decode().splitlines()
    assert json.loads(line)["id"] == "caf\udce9.jpg\u2028\x85\x0b"
