"""What lies between data sets that become one."""

from beam_jobs.sources.merging import Sighting, compare


def test_only_another_data_set_holds_out_a_photo():
    ours = Sighting("one/a/1612345678.jpg", "train", "one")
    beside, theirs = Sighting("one/b/1612345678.jpg", "dev", "one"), Sighting("two/1612345678.jpg", "test", "two")
    assert compare([ours, beside]) == (None, None)
    assert compare([beside, theirs, ours]) == ((ours.photo, f"test as {theirs.photo}"), None)
