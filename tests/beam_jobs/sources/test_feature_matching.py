"""The features of photos, found a bucket of names at a time, are those that all names at once give."""

from collections import defaultdict

from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.sources.feature_matching import (
    Claim,
    FeatureName,
    MatchFacts,
    PhotoNumber,
    RecordPhoto,
    decide,
    match_bucket,
    match_key,
    settle,
)
from beam_jobs.sources.grouping import bucket_of
from beam_jobs.sources.matching import file_name, match_names
from beam_jobs.sources.text_files import normal_name

STEMS = st.sampled_from(["a", "A", "b", "1", "2", "01", " 1", "e\u0301", "\u00e9", "\u200d", "a.1"])
FOLDERS = st.sampled_from(["", "", "x/", "y/", "x/y/", "X/"])
ENDINGS = st.sampled_from(["", ".jpg", ".png", ".JPG", ".v2"])
PHOTOS = st.dictionaries(
    st.tuples(FOLDERS, STEMS, ENDINGS).map("".join).filter(normal_name),
    st.lists(st.sampled_from(["1", "2", "01", " 1", "a", "b.jpg"]), max_size=3),
    max_size=6,
)
NAMES = st.tuples(st.sampled_from(["", "", "", "./", "../", "/", "z\\"]), FOLDERS, STEMS, ENDINGS).map("".join)
PATHS = st.sampled_from(["t/1", "t/2", "t 3"])
ROWS = st.lists(st.tuples(NAMES, PATHS, st.integers(0, 3)), max_size=8, unique_by=lambda row: row[1:])


def at_once(photos, names):
    """Photo id -> name; photo id -> what it may be; photos without; names without a photo, in the memory of one."""
    normal = {key: name for name in names if (key := normal_name(name))}
    matches = match_names(photos, normal)
    name_of = {photo: normal[name] for photo, name in matches.path_of.items()}
    ambiguous, missing, claims = dict(matches.ambiguous), [], defaultdict(list)
    free = normal.keys() - {*matches.path_of.values()}
    for photo in photos.keys() - name_of.keys() - ambiguous.keys():
        found = sorted(name for name in free if file_name(name) in photos[photo])
        if not found:
            missing.append(photo)
        elif len(found) > 1:
            ambiguous[photo] = found
        else:
            claims[found[0]].append(photo)
    for name, claiming in claims.items():
        if len(claiming) == 1:
            name_of[claiming[0]] = normal[name]
        else:
            ambiguous |= {photo: [name] for photo in claiming}
    ambiguous |= {photo: names[name] for photo, name in name_of.items() if len(names[name]) > 1}
    return name_of, ambiguous, missing, {*normal.values()} - {*name_of.values()}


def grouped(pairs):
    groups = defaultdict(list)
    for key, item in pairs:
        groups[key].append(item)
    return groups.values()


def in_parts(photos, rows, buckets, shards):
    """The same by the functions of the job, and the facts that it has of all."""
    facts, items, found, claims, located = MatchFacts(), [*rows], [], [], {}
    for number, (photo_id, source_ids) in enumerate(photos.items()):
        photo = RecordPhoto(photo_id, str(number % shards))
        items += [photo, *(PhotoNumber(source_id, photo) for source_id in source_ids)]
    for bucket in grouped((bucket_of(match_key(item), buckets), item) for item in items):
        for each in match_bucket(bucket, facts):
            (claims if isinstance(each, Claim) else found).append(each)
    for shard in grouped((each.photo.shard, each) for each in found):
        for each in decide(shard, facts):
            if isinstance(each, Claim):
                claims.append(each)
            else:
                located[each[0].id] = each[1]
    for bucket in grouped((bucket_of(claim.features.normal, buckets), claim) for claim in claims):
        settle(bucket, facts)
    return located, facts


@settings(max_examples=400, deadline=None)
@example({"a.jpg": ["1"], "b.jpg": ["1"]}, [("1", "t/1", 0)], 7, 2)  # one file by the numbers of two photos
@example({"a.jpg": ["1", "2"]}, [("1", "t/1", 0), ("x/2", "t/1", 1)], 7, 2)  # two files by two numbers
@example({"1.jpg": ["2"], "b": ["1"]}, [("1", "t/1", 0), ("2", "t/2", 0)], 7, 2)  # a name goes before a number
@example({"a.jpg": [], "x/a.jpg": []}, [("y/A.png", "t/1", 0), ("a", "t/1", 1), ("./a", "t/1", 2)], 7, 2)
@given(PHOTOS, ROWS, st.sampled_from([1, 2, 7, 1000]), st.integers(1, 3))
def test_buckets_give_each_photo_the_features_that_all_names_at_once_give_it(photos, rows, buckets, shards):
    names = defaultdict(list)
    for name, path, _ in sorted(rows, key=lambda row: (row[1].split("/"), row[2])):
        names[name].append(path)
    name_of, ambiguous, missing, unused = at_once(photos, names)
    usable = [FeatureName(*row) for row in reversed(rows) if normal_name(row[0])]
    located, facts = in_parts(photos, usable, buckets, shards)
    for photo, name in name_of.items():
        assert (located[photo].name, list(located[photo].paths)) == (name, names[name][:3])
    assert located.keys() - name_of.keys() <= ambiguous.keys()
    expected = sorted((photo, tuple(found[:3])) for photo, found in ambiguous.items())
    assert (facts.ambiguous.count, facts.ambiguous.first) == (len(expected), expected[:7])
    assert (facts.missing.count, facts.missing.first) == (len(missing), sorted(missing)[:7])
    assert (facts.unused.count, facts.unused.first) == (len(unused), sorted(unused)[:7])
