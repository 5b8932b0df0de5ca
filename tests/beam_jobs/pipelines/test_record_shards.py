"""Shards of `build_records` that an earlier run wrote: kept only where they are what this run would write."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from beam_jobs.execution.reading import read_shard
from beam_jobs.pipelines.packed import packed, unpacked
from beam_jobs.pipelines.record_shards import TokenizedPhoto, WriteShard
from beam_jobs.sources.base import CaptionedPhoto, Location
from tfcaption.records.dataset_info import RecordSettings
from tfcaption.records.examples import photo_of
from tfcaption.records.sharding import order_key
from tfcaption.records.statistics import Totals, VocabularyCounts
from tfcaption.records.vocabulary import SPECIAL_TOKENS

NAME = "train-00000-of-00001.tfrecord"
SETTINGS = RecordSettings(
    source="table", image_size=32, resize="squash", min_count=1, max_words=9, seed=0, shards=1, shares={},
    pillow_version="1",
)  # fmt: skip
VOCABULARY = VocabularyCounts([*SPECIAL_TOKENS, "a", "dog"], [0, 0, 0, 0, 1, 1])


@pytest.fixture
def photos(tmp_path):
    """Three photos, the last of them cut short."""
    tokenized = []
    for index in range(3):
        path = tmp_path / f"{index}.jpg"
        Image.new("RGB", (40, 40), (index, 0, 0)).save(path)
        photo = CaptionedPhoto(f"{index}.jpg", Location(str(path)), ("a dog",), "train")
        tokenized.append(TokenizedPhoto(photo, (("a", "dog"),)))
    path.write_bytes(path.read_bytes()[:-200])
    return tokenized


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def write(output, photos, settings=SETTINGS, vocabulary=VOCABULARY):
    """What the step yields, and the number of the shard's file, which is another one if the shard is written again."""
    batches = [packed([]), packed(photos[:1]), packed(photos[1:])]
    yielded = list(WriteShard(settings, str(output)).process((NAME, batches), vocabulary, Totals(3, 3)))
    shown = [element if isinstance(element, tuple) else (element.tag, element.value) for element in yielded]
    return shown, (output / NAME).stat().st_ino


def test_a_shard_that_was_made_from_the_same_is_kept_and_its_step_yields_the_same(output, photos):
    first = write(output, photos)
    (split, statistics), (tag, (_, line)), *digests = first[0]
    assert (split, statistics.shards[0].records, statistics.lengths) == ("train", 2, {4: 2})
    assert (tag, json.loads(line)["id"]) == ("rejected", "2.jpg")
    ((_, (number, compared)),) = digests
    split, digest_of = unpacked(compared)
    assert (number, split, [*digest_of]) == (0, "train", sorted(digest_of, key=lambda name: order_key(name, seed=0)))
    assert write(output, photos[::-1]) == first


def changed_caption(photos):
    photo = dataclasses.replace(photos[0].photo, captions=("A dog",))
    return [dataclasses.replace(photos[0], photo=photo), *photos[1:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda photos: {"photos": changed_caption(photos)},
        lambda photos: {"photos": photos[1:]},
        lambda photos: {"settings": SETTINGS.model_copy(update={"resize": "crop"})},
        lambda photos: {"vocabulary": VocabularyCounts([*SPECIAL_TOKENS, "dog", "a"], [0, 0, 0, 0, 1, 1])},
    ],
    ids=["caption", "photo", "setting", "vocabulary"],
)
def test_a_shard_that_was_made_from_anything_else_is_written_again(change, output, photos):
    first, inode = write(output, photos)
    second, other_inode = write(output, **({"photos": photos} | change(photos)))
    assert inode != other_inode
    # Nor does what lay beside the first shard vouch for the second.
    assert write(output, photos) != (second, other_inode) and write(output, photos)[0] == first


def test_a_shard_whose_bytes_changed_is_written_again(output, photos):
    first, inode = write(output, photos)
    content = (output / NAME).read_bytes()
    (output / NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert write(output, photos)[0] == first and (output / NAME).read_bytes() == content
    assert (output / NAME).stat().st_ino != inode


@pytest.mark.parametrize("broken", [b"", b"{}", b"\xff", b'{"statistics": []}'])
def test_a_shard_is_written_again_where_the_file_beside_it_cannot_be_read(broken, output, photos):
    first, inode = write(output, photos)
    (sidecar,) = output.glob("*.json")
    sidecar.write_bytes(broken)
    second, other_inode = write(output, photos)
    assert second == first and other_inode != inode


@pytest.mark.parametrize(("end", "identical"), [(b"a", True), (b"b", False), (b"", False), (b"aa", False)])
def test_files_that_become_one_jpeg_have_one_digest_only_where_they_are_identical(end, identical, output, photos):
    paths = [photo.photo.location.path for photo in photos[:2]]
    content = Path(paths[0]).read_bytes()
    for path, behind in zip(paths, (b"a", end), strict=True):
        Path(path).write_bytes(content + behind)
    _, (_, (_, compared)) = write(output, photos[:2])[0]
    digest_of = unpacked(compared)[1]
    assert (digest_of["0.jpg"] == digest_of["1.jpg"]) == identical
    first, second = map(photo_of, read_shard(str(output), NAME))
    assert first[1] == second[1]


def test_a_photo_that_was_repaired_after_it_was_rejected_joins_its_shard(output, photos):
    write(output, photos)
    Image.new("RGB", (40, 40)).save(photos[2].photo.location.path)
    (_, statistics), *digests = write(output, photos)[0]
    assert statistics.shards[0].records == 3 and {tag for tag, _ in digests} == {"digests"}
