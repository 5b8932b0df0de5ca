"""The sample data set: deterministic, split by photo, with captions that are true of the photos."""

import random
from collections import Counter

import numpy as np

from beam_jobs.sources.reader import read_source
from tests.conftest import tree_bytes
from tfcaption import sample_data
from tfcaption.sample_data import COLOURS, PLACES, Scene, Thing, describe, draw_scene, write_sample


def test_equal_seeds_give_equal_files_and_other_seeds_give_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, photos=20, seed=seed)
    assert tree_bytes(tmp_path / "a") == tree_bytes(tmp_path / "b") != tree_bytes(tmp_path / "c")


def test_the_sample_is_read_as_flickr8k(sample):
    listing = read_source(*sample)
    assert Counter(photo.split for photo in listing.photos) == {"train": 48, "dev": 6, "test": 6}
    assert listing.rejections == [] and all(len(set(photo.captions)) == 5 for photo in listing.photos)


def test_a_picture_shows_its_shape_at_the_position_of_the_caption():
    for colour, value in COLOURS.items():
        for place, (x, y) in PLACES.items():
            scene = Scene("dotted", (Thing("large", colour, "square"),), place)
            pixels = np.asarray(draw_scene(scene, random.Random(0))).astype(int)
            assert np.abs(pixels[y - 5 : y + 5, x - 5 : x + 5] - np.array(value)).max() <= 12
            assert all(f"{colour} square" in caption for caption in describe(scene))


def test_both_wordings_of_a_relation_describe_one_scene():
    scene = Scene("plain", (Thing("large", "red", "circle"), Thing("small", "blue", "square")), "above")
    assert describe(scene)[0] == "A large red circle above a small blue square on a plain background ."
    assert describe(scene)[2] == "A small blue square below a large red circle ."
    for relation, ((x1, y1), (x2, y2)) in sample_data.RELATIONS.items():
        truth = {"above": y1 < y2, "below": y1 > y2, "left of": x1 < x2, "right of": x1 > x2}
        assert truth[relation] and sample_data.OPPOSITE[sample_data.OPPOSITE[relation]] == relation
