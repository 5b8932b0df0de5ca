"""The sample data set: deterministic, split by photo, with captions that are true of the photos."""

import random
from collections import Counter

import numpy as np
import pytest

from tests.conftest import tree_bytes
from tests.support.sources import read_source
from tfcaption.sample.drawing import draw_scene
from tfcaption.sample.scenes import ALL_SCENES, PLACES, SUBJECTS, Scene
from tfcaption.sample.subjects import COLOURS
from tfcaption.sample.wording import describe
from tfcaption.sample_data import write_sample


def test_equal_seeds_give_equal_files_and_other_seeds_give_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, photos=20, seed=seed)
    assert tree_bytes(tmp_path / "a") == tree_bytes(tmp_path / "b") != tree_bytes(tmp_path / "c")


def test_the_sample_is_read_as_flickr8k(sample):
    listing = read_source(*sample)
    assert Counter(photo.split for photo in listing.photos) == {"train": 48, "dev": 6, "test": 6}
    assert listing.rejections == [] and all(len(set(photo.captions)) == 5 for photo in listing.photos)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_picture_shows_its_subject_in_the_colour_of_the_caption(subject):
    """Beside the same picture in another colour: what differs is large, and lighter or darker than COLOURS says."""
    for scene in {(scene.colour, scene.action): scene for scene in ALL_SCENES if scene.subject == subject}.values():
        other = Scene(subject, "purple" if scene.colour != "purple" else "red", scene.action, scene.place)
        ours, theirs = (np.asarray(draw_scene(one, random.Random(0))).astype(int) for one in (scene, other))
        differs = np.abs(ours - theirs).sum(axis=-1) > 60
        assert differs.mean() > 0.01
        assert np.abs(np.median(ours[differs], axis=0) - COLOURS[scene.colour]).max() <= 40


def test_a_caption_names_the_subject_its_colour_and_its_place_in_words_that_fit_no_other():
    """Every scene has captions of its own, though two places or actions may share a wording."""
    wordings = {}
    for scene in ALL_SCENES:
        captions = {caption for seed in range(40) for caption in describe(scene, random.Random(seed))}
        colour, noun = scene.colour, {"boat": "boat with"}.get(scene.subject, scene.subject)
        full = [caption for caption in captions if not caption.startswith("The ")]
        assert all(colour in caption.lower() and noun in caption.lower() for caption in full)
        wordings[scene] = captions
    assert all(not ours <= theirs for a, ours in wordings.items() for b, theirs in wordings.items() if a != b)


def test_five_people_word_a_scene_differently():
    scene = Scene("cat", "orange", "sit", "meadow")
    captions = describe(scene, random.Random(0))
    assert captions[0].startswith("An orange cat sits ") and captions[1].startswith("an orange cat sitting ")
    assert captions[2].startswith("An orange cat is sitting ") and captions[3].startswith("The cat sits ")
    assert captions[4].startswith("Orange cat sitting ") and len(set(captions)) == 5


def test_every_place_is_drawn_at_the_size_of_a_photo():
    scenes = {scene.place: scene for scene in ALL_SCENES}
    assert scenes.keys() == set(PLACES)
    assert {draw_scene(scene, random.Random(1)).size for scene in scenes.values()} == {(320, 240)}
