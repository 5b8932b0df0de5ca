"""Captions of other programs and all that we write are scored in any form, and nothing in them is lost silently."""

import io
import json

import pytest

from beam_jobs.execution.options import beam_options
from beam_jobs.pipelines import captions as caption_images
from tests.conftest import IN_MEMORY
from tests.support.records import write_plain_records
from tests.support.sources import read_source
from tfcaption.caption import _print as print_captions
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluate import main
from tfcaption.evaluation.caption_files import evaluate_captions, read_captions
from tfcaption.evaluation.results import EvaluationOptions
from tfcaption.metrics.corpus import ScoreError
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import Hypothesis, PhotoCaptions, WordAttention
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.errors import UsageError
from tfcaption.serving.http_server import Captions, make_app
from tfcaption.serving.server_options import ServerOptions

REFERENCES = {
    "val/a.jpg": ["A dog runs on grass .", "The dog is running ."],
    "val/b.jpg": ["Two people walk on a beach .", "A couple at the sea ."],
    "val/é c.jpg": ["A child in a red coat .", "The child is in red ."],
}
NUMBERS = {"val/a.jpg": 23431, "val/b.jpg": 23432, "val/é c.jpg": 7}
SAID = {"val/a.jpg": "a dog on grass", "val/b.jpg": "two people at\u2028the sea", "val/é c.jpg": ""}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    dev = {photo: (captions, [str(NUMBERS[photo])]) for photo, captions in REFERENCES.items()}
    train = {f"train/{n}.jpg": (["A dog runs on grass .", "A dog ."], [str(n)]) for n in range(3)}
    return write_plain_records(tmp_path_factory.mktemp("plain") / "records", {"train": train, "dev": dev})


def lines(entries):
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def scored(path, records, **options):
    """The captions that are scored."""
    seen = path.parent / "seen"
    evaluate_captions(path, records, EvaluationOptions(), seen, **options)
    return {line["id"]: line["caption"] for line in map(json.loads, (seen / "captions.jsonl").open(encoding="utf-8"))}


# --- our own outputs -------------------------------------------------------------------------------------


def captions_of(photo):
    """What a captioner says of a photo: three captions with scores, and attention."""
    texts = [SAID[photo], "the next best one", "another one"]
    nbest = tuple(Hypothesis(text, -0.5 - index) for index, text in enumerate(texts))
    return PhotoCaptions(nbest, (WordAttention("a", [0.5, 0.5]),))


class Captioner:
    """Captions the three photos by their bytes, which are their ids."""

    options = CaptionOptions(beam=3, nbest=3)

    def prepare(self, photo):
        if photo.decode() not in SAID:
            raise PhotoError("unreadable", "no photo")
        return photo

    def __call__(self, photos):
        return [captions_of(photo.decode()) for photo in photos]

    def fingerprint(self):
        return "0" * 64


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("nbest", [1, 3])
def test_what_the_caption_command_prints_is_scored(as_json, nbest, records, tmp_path, capsys):
    for photo in SAID:
        print_captions(f"/data/photos/{photo}", captions_of(photo), nbest=nbest, as_json=as_json)
    printed = capsys.readouterr().out
    (tmp_path / "said").write_text(printed)
    assert scored(tmp_path / "said", records) == SAID
    (tmp_path / "windows").write_bytes(printed.replace("\n", "\r\n").encode("utf-16"))  # as PowerShell redirects
    assert scored(tmp_path / "windows", records) == SAID
    metrics = evaluate_captions(tmp_path / "said", records, EvaluationOptions())
    further = {} if as_json or nbest == 1 else {"after the best one of a photo": 6}
    assert metrics["not_scored"] == further


def test_one_object_of_the_caption_command_may_be_indented_or_in_a_list(records, tmp_path):
    entries = [{"path": f"photos/{photo}", **captions_of(photo).as_json()} for photo in SAID]
    for name, text in (
        ("list", json.dumps(entries)),
        ("indented", json.dumps(entries, indent=2)),
        ("objects", "\n".join(json.dumps(entry, indent=2) for entry in entries)),  # as jq prints them
    ):
        (tmp_path / name).write_text(text)
        assert scored(tmp_path / name, records) == SAID
    (tmp_path / "one.json").write_text(json.dumps(entries[0], indent=2))
    assert read_captions(tmp_path / "one.json", REFERENCES) == {"val/a.jpg": "a dog on grass"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that caption_images writes."""
    (tmp_path / "photos" / "val").mkdir(parents=True)
    for photo in [*SAID, "val/no photo.jpg"]:
        (tmp_path / "photos" / photo).write_bytes(photo.encode())
    output = tmp_path / "captions"
    monkeypatch.setattr(caption_images, "open_captioner", lambda *_, **__: Captioner())
    request = caption_images.CaptionRequest("model", str(tmp_path / "photos"), batch_size=2, shards=3)
    info = caption_images.run(request, beam_options(IN_MEMORY, output=str(output)), output=str(output))
    assert (info.captioned, info.rejected) == (3, {"unreadable": 1})
    return output


def test_the_folder_of_caption_images_is_scored_and_must_be_complete(folder, records):
    assert scored(folder, records) == scored(folder / "captions.json", records) == SAID
    shard = folder / "captions-00001-of-00003.jsonl"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(RecordError, match=r"captions.json says \d+; run caption_images again"):
        scored(folder, records)
    shard.write_bytes(content)
    (folder / "captions.json").unlink()
    with pytest.raises(ScoreError, match="captions.json is missing, so they are incomplete; run caption_images again"):
        scored(folder, records)


def test_the_folder_of_caption_images_holds_captions_to_train_on(folder, tmp_path):
    listing = read_source(tmp_path / "photos", folder)  # with rejected.jsonl in it, which holds no captions
    assert [photo.id for photo in listing.photos] == [photo for photo, said in SAID.items() if said]
    assert listing.photos[0].captions == (SAID["val/a.jpg"],)
    assert [rejected.reason for rejected in listing.rejections if rejected.kind == "caption"] == ["empty caption"]


def test_the_folder_of_an_evaluation_is_scored_again(records, tmp_path):
    (tmp_path / "said.jsonl").write_text(lines({"id": photo, "caption": said} for photo, said in SAID.items()))
    first = evaluate_captions(tmp_path / "said.jsonl", records, EvaluationOptions(), tmp_path / "eval")
    again = evaluate_captions(tmp_path / "eval", records, EvaluationOptions())
    assert {**again, "captions": 0, "seconds": 0} == {**first, "captions": 0, "seconds": 0}
    with pytest.raises(UsageError, match="holds the captions; name another folder"):
        evaluate_captions(tmp_path / "eval", records, EvaluationOptions(), tmp_path / "eval")


def test_an_answer_of_the_server_is_scored(records, tmp_path):
    captions = Captions(Captioner(), max_batch=4)
    try:
        client = make_app(captions, ServerOptions("model")).test_client()
        files = [(io.BytesIO(photo.encode()), photo) for photo in [*SAID, "val/no photo.jpg"]]
        answer = client.post("/v1/captions", data={"photos": files})
    finally:
        captions.batcher.close()
    assert answer.status_code == 200 and "error" in answer.text
    (tmp_path / "answer.json").write_bytes(answer.data)
    assert scored(tmp_path / "answer.json", records) == SAID


def test_a_folder_without_captions_is_called_what_it_is(records, tmp_path):
    with pytest.raises(ScoreError, match="records: is a folder of records, not a folder of captions; name a file, or"):
        scored(records, records)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ScoreError, match="is a run directory, .* such as runs/mine/eval-dev"):
        evaluate_captions(tmp_path, records, EvaluationOptions())


# --- files of others -------------------------------------------------------------------------------------

BY_NAME = [{"image_id": f"{photo}", "caption": said} for photo, said in SAID.items()]
BY_NUMBER = [{"image_id": NUMBERS[photo], "caption": said} for photo, said in SAID.items()]
COCO = {
    "images": [{"id": 100 + n, "file_name": f"{photo}"} for n, photo in enumerate(SAID)],
    "annotations": [{"id": n, "image_id": 100 + n, "caption": said} for n, said in enumerate(SAID.values())],
}
FORMS = {
    "results of COCO": json.dumps(BY_NUMBER),
    "numbers as text": json.dumps([{**entry, "image_id": f"{entry['image_id']:012}"} for entry in BY_NUMBER]),
    "numbers as fractions": json.dumps([{**entry, "image_id": float(entry["image_id"])} for entry in BY_NUMBER]),
    "names with folders": json.dumps([{**entry, "image_id": f"/x/{entry['image_id']}"} for entry in BY_NAME]),
    "a list with one line for each": "[\n" + ",\n".join(map(json.dumps, BY_NAME)) + "\n]\n",
    "lines with a byte-order mark": "\ufeff" + lines(BY_NAME) + "\n",
    "lines of two joined files": lines(BY_NAME[:1]) + "\ufeff" + lines(BY_NAME[1:]),
    "annotations of COCO": json.dumps(COCO, indent=1),
    "predictions": json.dumps({"model": "theirs", "predictions": BY_NAME}),
    "results": json.dumps({"results": {entry["image_id"]: entry["caption"] for entry in BY_NAME}}),
    "name to caption": json.dumps({entry["image_id"]: entry["caption"] for entry in BY_NAME}, indent=1),
    "name to list of one": json.dumps({entry["image_id"]: [entry["caption"]] for entry in BY_NAME}),
    "number to list of one object": json.dumps({str(e["image_id"]): [{"caption": e["caption"]}] for e in BY_NUMBER}),
    "a name a line": lines({entry["image_id"]: entry["caption"]} for entry in BY_NAME),
    "a table of pandas": ",image,caption\n" + "".join(f'{n},{p},"{c}"\n' for n, (p, c) in enumerate(SAID.items())),
    "a table with quotation marks": '"image_id";"caption"\r\n' + "".join(f'"{p}";"{c}"\r\n' for p, c in SAID.items()),
    "a table with tabs": "Caption\tFile_name\n" + "".join(f"{c}\t{p}\n" for p, c in SAID.items()),
    "lines with tabs": "".join(f"{p}\t{c}\n" for p, c in SAID.items()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_captions_of_other_programs_are_scored(form, encoding, records, tmp_path):
    (tmp_path / "theirs").write_bytes(FORMS[form].encode(encoding))
    assert scored(tmp_path / "theirs", records) == SAID


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "FILE: contains no captions"),
        ("[]", "FILE: contains no captions"),
        ("{}", "FILE: contains no captions"),
        ('{"results": []}', "FILE: contains no captions"),
        ('{"id": "a", "caption": "x"}\n{"id": "b", "capt', "FILE, line 2: is not JSON"),
        ('[{"id": "a", "caption": "x"},\n{"id": "b"', "FILE, line 2: is not JSON"),
        ("[" * 100_000, "FILE, line 1: is not JSON of captions"),
        ('"a dog"', "FILE, line 1: must be {"),
        ('[{"id": "a.jpg", "caption": "x"}, ["a dog"]]', "FILE, entry 2: must be {"),
        ('{"id": "a.jpg", "caption": ["a", "dog"]}', "FILE, line 1: the caption must be a string, not list"),
        ('{"id": "a.jpg", "said": "x"}', "FILE, line 1: the caption must be .*, not NoneType; its keys are id, said"),
        ('[{"id": "a.jpg", "caption": NaN}]', "FILE, entry 1: the caption must be a string, not float: nan"),
        ('{"a.jpg": null}', "FILE, line 1, a.jpg: the caption must be a string, not NoneType"),
        ('{"caption": "x"}', "FILE, line 1: needs an image_id or id"),
        ('{"id": 1.5, "caption": "x"}', "FILE, line 1: needs an image_id or id"),
        ('{"predictions": [{"captions": "x", "scores": 0}]}', "FILE, entry 1: needs an image_id or id"),
        ('{"id": "zebra", "caption": "x"}', r"FILE: 1 caption is of no photo of the references, .* zebra \(line 1\)"),
        ('{"id": "b", "caption": "x"}', "FILE, line 1: b could be b.jpg or b.png"),
        ('{"id": "a.jpg", "caption": "x"}\n{"id": "a", "caption": "y"}', "FILE, line 2: a.jpg already .* in line 1"),
        ('{"a.jpg": "x", "a.jpg": "y"}', 'FILE, line 1: is not JSON of captions: an object has "a.jpg" twice'),
        (b'{"id": "a", "caption": "x"}\n{"id": "b", "caption": "\xff"}', "FILE, line 2: is not UTF-8"),
        ("image,caption\na.jpg,a dog, a cat\n", "FILE, line 2: has 3 cells, the header 2"),
        ("a.jpg\ta dog\nb.jpg a cat\n", "FILE, line 2: is neither JSON nor PHOTO<TAB>CAPTION"),
        ("a.jpg\tx\nb.jpg\ty\na.jpg\tz\n", "FILE, line 3: a.jpg already has a caption, in line 1"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_by_line(content, message, tmp_path):
    path = tmp_path / "FILE"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ScoreError, match=f"^{tmp_path}/{message}") as refused:
        read_captions(path, ["a.jpg", "b.jpg", "b.png"][: 1 if "\t" in str(content) else 3])
    assert "\n" not in str(refused.value)


def test_a_quotation_mark_in_a_table_with_bars_belongs_to_its_caption_unless_the_header_has_some(tmp_path):
    captions = {"a.jpg": '"a dog', "b.jpg": 'a cat"'}
    (tmp_path / "bars.csv").write_text('image| caption\na.jpg|"a dog\nb.jpg|a cat"\n')
    (tmp_path / "quoted.csv").write_text('"image"|"caption"\n"a.jpg"|"""a dog"\n"b.jpg"|"a cat"""\n')
    for name in ("bars.csv", "quoted.csv"):
        assert read_captions(tmp_path / name, captions) == captions


def test_an_empty_caption_scores_nothing(records, tmp_path):
    best = {photo: captions[0] for photo, captions in REFERENCES.items()}
    (tmp_path / "best.json").write_text(json.dumps(best))
    (tmp_path / "empty.json").write_text(json.dumps({**best, "val/b.jpg": ""}))
    full, less = (
        evaluate_captions(tmp_path / name, records, EvaluationOptions()) for name in ("best.json", "empty.json")
    )
    assert full["rouge_l"] == 1 and less["rouge_l"] == pytest.approx(2 / 3) and less["photos"] == 3


# --- photos of other splits ------------------------------------------------------------------------------


@pytest.fixture
def extra(tmp_path):
    """Captions of all photos of dev, two of train and one that no record knows."""
    entries = [*BY_NAME, *({"id": f"train/{n}.jpg", "caption": "a"} for n in range(2)), {"id": "x.jpg", "caption": "b"}]
    (tmp_path / "extra.jsonl").write_text(lines(entries))
    return tmp_path / "extra.jsonl"


def test_captions_of_other_photos_are_refused_with_their_number_and_split(extra, records):
    with pytest.raises(ScoreError) as refused:
        scored(extra, records)
    assert str(refused.value) == (
        f"{extra}: 2 captions are of photos of train, such as train/0.jpg (line 4) and 1 caption is of no photo of "
        f"{records}, such as x.jpg (line 6); name another --split, or add --ignore_extra to score only those of dev"
    )


def test_captions_of_other_photos_may_be_ignored_and_are_counted(extra, records, capsys):
    assert scored(extra, records, ignore_extra=True) == SAID
    assert main(["--captions", str(extra), "--records", str(records), "--ignore_extra"]) == 0
    printed = capsys.readouterr().out
    assert "captions not scored: 2 of photos of train\n" in printed
    assert f"captions not scored: 1 of no photo of {records}\n" in printed


def test_numbers_that_older_records_do_not_know_are_refused_with_the_cure(records, tmp_path):
    without = {split: {f"{split}.jpg": (["A dog ."], [])} for split in ("train", "dev")}
    old = write_plain_records(tmp_path / "old", without)
    (tmp_path / "results.json").write_text(json.dumps(BY_NUMBER))
    with pytest.raises(ScoreError, match="3 captions are of no photo .* to records that build_records wrote from them"):
        evaluate_captions(tmp_path / "results.json", old, EvaluationOptions())


def test_photos_without_a_caption_are_refused_unless_beyond_the_limit(records, tmp_path):
    (tmp_path / "some.jsonl").write_text(lines(BY_NAME[:2]))
    with pytest.raises(ScoreError, match=r"some.jsonl: has no caption for 1 of 3 photos of split dev, such as val/é c"):
        evaluate_captions(tmp_path / "some.jsonl", records, EvaluationOptions())
    assert evaluate_captions(tmp_path / "some.jsonl", records, EvaluationOptions(limit=2))["photos"] == 2
