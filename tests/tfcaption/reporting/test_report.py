"""The report: a page that is right, safe, needs nothing else, and can be sorted and searched."""

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from tfcaption import report as command
from tfcaption.config import Config, save_config
from tfcaption.metrics.tokens import score_tokens
from tfcaption.records.dataset_info import DATASET_FILE, DatasetInfo, RecordSettings, ShardInfo, SplitInfo
from tfcaption.records.examples import PhotoRecord, encode_record
from tfcaption.records.sharding import shard_name
from tfcaption.records.tfrecord import frame_record
from tfcaption.records.vocabulary import SPECIAL_TOKENS, VOCABULARY_FILE
from tfcaption.reporting import plots
from tfcaption.reporting.data import common_photos, photo_scores, read_runs
from tfcaption.reporting.figures import distinct_ngrams, learning_rate_figure, training_figures
from tfcaption.reporting.report import PHOTO_SIZE, choose_photos, score_intervals, write_report
from tfcaption.reporting.summary import verdict
from tfcaption.reporting.tables import trigram_shares
from tfcaption.runs.about import write_about
from tfcaption.runs.directory import CONFIG_FILE, RunError
from tfcaption.runs.metrics_log import METRICS_FILE, STEPS_FILE, append_lines

SIZE = 256
# Photo -> references, and the captions of the runs `plain` and `a_$b$`.
HOSTILE = "<img src=x onerror=\"alert(1)\"> & a 'dog'\u2028"
PHOTOS = {
    "dog.jpg": (["a dog runs", "the brown dog runs on grass"], "a dog runs", "a cat sleeps"),
    "cat.jpg": (["a cat sleeps on the sofa", "one cat"], "a man in a hat", "a cat sleeps on a sofa"),
    "man.jpg": (["a man in a hat", "a man with a red hat"], "a man in a hat", "a man in a hat"),
    "sea.jpg": (["waves break", "the blue sea"], "two boats", "blue sea"),
    'x"><script>.jpg': (
        [HOSTILE, "</article><script>alert(2)</script>"],
        "<b>bold</b> dog",
        "&lt;dog&gt; {{ page }} {% raw %}",
    ),
}
VOID = {"meta", "img", "input", "br"}


class Element:
    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent, self.children, self.own = tag, attributes, parent, [], []

    def all(self, tag=None, **attributes):
        """Elements below this one, in order of the document; `class_` is one of the classes."""
        for child in self.children:
            wanted = (child.attributes.get(k) == v for k, v in attributes.items() if k != "class_")
            classes = (child.attributes.get("class") or "").split()
            if tag in (None, child.tag) and all(wanted) and attributes.get("class_", "") in ["", *classes]:
                yield child
            yield from child.all(tag, **attributes)

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.own)


class Tree(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.root = self.here = Element("", {}, None)
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes), self.here)
        self.here.children.append(element)
        self.here.own.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.here.tag == tag, (self.here.tag, tag)  # well nested
            self.here = self.here.parent

    def handle_data(self, data):
        self.here.own.append(data)


def parse(page):
    return Tree(page).root


def jpeg(index):
    stream = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (40 * index, 200 - 30 * index, 90)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write_records(folder, photos, split):
    folder.mkdir(parents=True)
    shard = shard_name(split, 0, 1)
    with (folder / shard).open("wb") as stream:
        for index, (photo, (references, *_)) in enumerate(photos.items()):
            record = PhotoRecord(photo_id=photo, jpeg=jpeg(index), captions=references, token_ids=[[2, 3]] * 2)
            stream.write(frame_record(encode_record(record)))
    info = DatasetInfo(
        settings=RecordSettings(
            **{"source": "test", "image_size": SIZE, "resize": "squash", "min_count": 1, "max_words": 40},
            **{"seed": 0, "shards": 1, "shares": {}, "pillow_version": "0"},
        ),
        splits={
            split: SplitInfo(
                **{"photos": len(photos), "captions": 1, "tokens": 1, "oov_rate": 0, "truncated_captions": 0},
                **{"caption_lengths": {}, "longest_caption_lengths": {}},
                shards=[ShardInfo(name=shard, records=len(photos), bytes=0, sha256="")],
            )
        },
        **{"vocabulary_size": 4, "max_length": 8, "captions_per_photo": 2, "photos_in": 1, "captions_in": 1},
        **{"rejected_photos": {}, "rejected_captions": {}, "unused_photos": {}, "word_counts": []},
    )
    (folder / DATASET_FILE).write_text(info.model_dump_json())
    (folder / VOCABULARY_FILE).write_text("".join(f"{word}\n" for word in SPECIAL_TOKENS))
    return folder


def evaluation(column, split="dev", photos=PHOTOS, **scores):
    """captions.jsonl and metrics.json of the run in this column of PHOTOS."""
    lines = [
        {"id": photo, "caption": entry[column], "references": entry[0], "cosine": 0.8 + 0.01 * index}
        for index, (photo, entry) in enumerate(photos.items())
    ]
    constant = {"caption": "a man .", "bleu_4": 0.05, "photos": len(photos)}
    return {f"eval-{split}": (lines, {"protocol": "greedy", "checkpoint": "x/ckpt-3", "constant": constant} | scores)}


def write_run(path, data, evaluations, epochs=3, **train):
    path.mkdir(parents=True)
    config = Config.model_validate({"run": str(path), "data": {"records": str(data)}, "train": train})
    save_config(config, path / CONFIG_FILE)
    for name in (DATASET_FILE, VOCABULARY_FILE):
        shutil.copyfile(data / name, path / name)
    for folder, (lines, scores) in evaluations.items():
        (path / folder).mkdir()
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (path / folder / "captions.jsonl").write_text(text, encoding="utf-8")
        (path / folder / "metrics.json").write_text(json.dumps(scores))
    append_lines(path / STEPS_FILE, [{"step": s, "epoch": 1, "loss": 9 / s} for s in range(1, 4 * epochs + 1)])
    history = [{"epoch": e, "step": 4 * e, "train_loss": 3 / e, "dev_loss": 4 / e} for e in range(1, epochs + 1)]
    append_lines(path / METRICS_FILE, history)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records and two evaluated runs."""
    folder = tmp_path_factory.mktemp("report")
    data = write_records(folder / "records", PHOTOS, "dev")
    write_run(folder / "runs" / "plain", data, evaluation(1, bleu_4=0.2, perplexity=9.5, distinct_captions=4))
    write_run(folder / "runs" / "a_$b$", data, evaluation(2, bleu_4=0.1, perplexity=8.5), seed=7)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    paths = [folder / "runs" / "plain", folder / "runs" / "a_$b$"]
    return write_report(paths, output=folder / "out", photo_count=5)


@pytest.fixture(scope="module")
def tree(page):
    return parse(page.read_text(encoding="utf-8"))


def cells(tree, heading):
    """Rows of the table below a heading: name -> texts."""
    (section,) = [s for s in tree.all("section") if [h.text for h in s.all("h2")] == [heading]]
    rows = [row for row in section.all("tr") if row.attributes.get("class") != "heading"]
    return {own_text(row.children[0]): [own_text(cell) for cell in row.children[1:]] for row in rows}, section


def own_text(cell):
    """The text of a cell without the notes below it."""
    parts = (part if isinstance(part, str) else part.text * (part.tag == "strong") for part in cell.own)
    return "".join(parts).strip()


def cards(tree):
    return {card.attributes["data-id"]: card for card in tree.all("article", class_="photo")}


def lcs(first, second):
    """Longest common subsequence by trying all of them."""
    for length in range(len(first), 0, -1):
        for words in itertools.combinations(first, length):
            rest = iter(second)
            if all(word in rest for word in words):
                return length
    return 0


def rouge_l(caption, references):
    common = [(lcs(caption.split(), r.split()), len(r.split())) for r in references]
    precision = max(c for c, _ in common) / len(caption.split())
    recall = max(c / length for c, length in common)
    return precision and (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def test_scores_of_the_runs_are_side_by_side_and_the_best_of_each_row_is_marked(tree):
    table, section = cells(tree, "Scores")
    assert table[""] == ["plain", "a_$b$", "a_$b$ - plain", "constant caption"]
    assert table["BLEU-4"] == ["0.200", "0.100", "-0.100", "0.050"]
    assert table["perplexity"] == ["9.50", "8.50", "", ""]
    assert table["distinct captions"] == ["4", "", "", ""]
    assert [mark.text for mark in section.all("strong")] == ["0.200", "8.50"]  # higher BLEU, lower perplexity


def test_the_differences_of_the_configs_are_exactly_the_fields_that_differ(tree):
    assert cells(tree, "Config differences")[0] == {"": ["plain", "a_$b$"], "train.seed": ["0", "7"]}


def scored_run(folder, tmp_path, name, column, cider):
    compared = {"constant": {"caption": "a man .", "cider": 0.2}, "human": {"cider": 1.2}}
    return write_run(tmp_path / name, folder / "records", evaluation(column, cider=cider, **compared))


def verdict_of(paths):
    _, runs = read_runs(paths)
    return " ".join(verdict(runs, *score_intervals(runs, photo_scores(runs, common_photos(runs)))))


def test_the_verdict_places_the_best_run_between_a_constant_caption_and_people(folder, tmp_path):
    paths = [scored_run(folder, tmp_path, name, *of) for name, *of in (("low", 1, 0.45), ("high", 2, 0.7))]
    tree = parse(write_report(paths, output=tmp_path / "page", photo_count=36).read_text(encoding="utf-8"))
    said = next(tree.all("p", class_="verdict")).text
    assert re.match(r"high has a CIDEr-D of 0\.700 \([\d.]+ to [\d.]+\), 50% of the way from", said)
    assert "(0.200) to people (1.200)" in said
    assert re.search(r"It has 0\.250 more than low, which may be chance|It is better than low by 0\.250", said)
    (cider,) = (part for part in tree.all("section", class_="headline") if next(part.all("h2")).text == "CIDEr-D")
    (scale,) = cider.all("div", class_="range")
    assert scale.attributes["aria-label"] == "constant caption 0.200, people 1.200, low 0.450, high 0.700"
    places = [mark.attributes["style"].partition(";")[0] for mark in scale.all("span", class_="mark")]
    assert places == ["left: 25.0%", "left: 50.0%"]


def test_a_captioner_that_is_no_better_than_the_constant_caption_is_called_so(folder, tmp_path):
    run = write_run(
        tmp_path / "poor", folder / "records", evaluation(1, cider=0.2, constant={"caption": "a man .", "cider": 9.0})
    )
    assert "hardly better than to say “a man.” about every photo" in verdict_of([run])


def test_equal_captions_differ_by_chance_at_most(folder, tmp_path):
    paths = [scored_run(folder, tmp_path, name, 1, 0.5) for name in ("one", "two")]
    assert "which may be chance (0.000 to 0.000)" in verdict_of(paths)


def test_the_page_says_how_each_run_was_made_and_shows_no_folder_of_the_machine(folder, tmp_path):
    run = scored_run(folder, tmp_path, "told", 1, 0.5)
    command = f"python -m tfcaption.train --config {tmp_path}/my.yaml --set data.records={folder}/records"
    write_about(run, command=command, device="2 x NVIDIA H200", precision="float16", features="36 boxes")
    page = write_report([run], output=tmp_path / "page", photo_count=36).read_text(encoding="utf-8")
    facts, _ = cells(parse(page), "Runs")
    assert facts["command"] == ["python -m tfcaption.train --config my.yaml --set data.records=records"]
    assert facts["device"] == ["2 x NVIDIA H200"] and facts["decoder"] == ["gru, 1,024 units"]
    assert facts["features"] == ["36 boxes"] and "word vectors" not in facts  # it has none
    assert str(tmp_path) not in page and str(folder) not in page


def test_one_reference_is_shown_and_the_others_are_folded(folder, tmp_path):
    photos = {"a.jpg": (["one dog", "two dogs", "three dogs"], "a dog"), "b.jpg": (["a cat"], "a cat")}
    run = write_run(tmp_path / "run", write_records(tmp_path / "records", photos, "dev"), evaluation(1, photos=photos))
    found = cards(parse(write_report([run], output=tmp_path / "page", photo_count=36).read_text(encoding="utf-8")))
    (folded,) = found["a.jpg"].all("details")
    assert next(folded.all("summary")).text == "2 more references"
    assert [item.text for item in folded.all("li")] == ["two dogs", "three dogs"]
    assert not list(found["b.jpg"].all("details"))


def test_every_photo_has_its_references_and_the_caption_of_each_run(tree):
    found = cards(tree)
    assert set(found) == set(PHOTOS)
    for photo, (references, *captions) in PHOTOS.items():
        assert [item.text for item in found[photo].all("li")] == references
        assert [item.text for item in found[photo].all("span", class_="text")] == captions
        assert [item.text for item in found[photo].all("span", class_="run")] == ["plain", "a_$b$"]
        assert next(found[photo].all("img")).attributes["alt"] == references[0]


def test_the_attention_of_a_run_is_shaded_on_the_photo_word_by_word(folder, tmp_path):
    weights = [0.7, 0.1, 0.2, 0.0]
    found = evaluation(1)
    for line in found["eval-dev"][0]:
        line["attention"] = [{"word": word, "weights": weights} for word in (*line["caption"].split(), HOSTILE)]
    plain, attending = (
        write_run(tmp_path / name, folder / "records", evaluations)
        for name, evaluations in (("plain", evaluation(2)), ("attending", found))
    )
    tree = parse(write_report([plain, attending], output=tmp_path / "page", photo_count=36).read_text())
    for photo, card in cards(tree).items():
        (details,) = card.all("details", class_="attention")
        caption = PHOTOS[photo][1]
        assert details.attributes["data-run"] == "1"
        assert next(details.all("summary")).text == "where attending looked"
        assert [item.text for item in details.all("li")] == [*caption.split(), HOSTILE]
        shown = next(card.all("img")).attributes["src"]
        assert card.attributes["style"].endswith(f"--photo: url({shown})")
        for image in details.all("img"):
            shade = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.attributes["src"].partition(",")[2]))))
            assert shade.shape == (2, 2, 2) and not shade[..., 0].any()
            np.testing.assert_allclose(shade[..., 1].ravel(), [0, 163, 136, 190], atol=1)  # opacity


@pytest.mark.parametrize(
    ("weights", "said"), [([0.7, 0.1, 0.2], {}), ([0.7, 0.1, 0.2, 0.0], {"attention_grid": False})]
)
def test_attention_to_regions_without_a_grid_is_said_and_not_drawn(weights, said, folder, tmp_path):
    found = evaluation(1)
    lines, metrics = found["eval-dev"]
    for line in lines:
        line["attention"] = [{"word": word, "weights": weights} for word in line["caption"].split()]
    found["eval-dev"] = (lines, {**metrics, **said})
    run = write_run(tmp_path / "boxes", folder / "records", found)
    page = write_report([run], output=tmp_path / "page", photo_count=36).read_text()
    assert not list(parse(page).all("details", class_="attention"))
    assert "boxes attends to regions that form no grid, so its attention is not drawn over the photos." in page


def test_a_photo_is_the_one_of_the_records_made_smaller(tree):
    found = cards(tree)
    for index, photo in enumerate(PHOTOS):
        kind, _, data = next(found[photo].all("img")).attributes["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (SIZE, SIZE) and SIZE <= PHOTO_SIZE
            mean = np.asarray(image).mean((0, 1))
        assert np.abs(mean - [40 * index, 200 - 30 * index, 90]).max() < 4


def test_photos_have_their_own_shape_where_their_folder_is_named(folder, tmp_path):
    images = tmp_path / "images"
    for name, size in (
        ("below/dog.jpg", (640, 320)),
        ("cat.jpg", (30, 60)),
        ("man.jpg", (9, 9)),
        ("a/man.jpg", (9, 9)),
    ):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (1, 2, 250)).save(images / name)
    (images / "sea.jpg").write_bytes(b"no photo")
    page = write_report([folder / "runs" / "plain"], output=tmp_path / "page", photo_count=5, images=images)
    found = {}
    for photo, card in cards(parse(page.read_text(encoding="utf-8"))).items():
        image = next(card.all("img"))
        with Image.open(io.BytesIO(base64.b64decode(image.attributes["src"].partition(",")[2]))) as shown:
            found[photo] = shown.size
            assert (image.attributes["width"], image.attributes["height"]) == tuple(map(str, shown.size))
    assert found["dog.jpg"] == (320, 160) and found["cat.jpg"] == (30, 60)
    assert found["man.jpg"] == (9, 9)  # the one at the path of the id
    assert found["sea.jpg"] == (SIZE, SIZE)  # damaged, so the one of the records


def test_the_score_of_a_caption_is_rouge_l_by_brute_force(tree):
    for photo, (references, *captions) in list(PHOTOS.items())[:4]:
        shown = [float(p.attributes["data-score"]) for p in cards(tree)[photo].all("p", class_="caption")]
        assert shown == pytest.approx([rouge_l(caption, references) for caption in captions], abs=1e-4)


def test_text_from_the_data_never_becomes_markup(tree, page):
    assert len(list(tree.all("script"))) == 1 and not list(tree.all("b"))
    for element in tree.all():
        assert not [name for name in element.attributes if name.startswith("on")], element.tag
    # The template's own syntax stays text in a caption.
    assert "{{ page }} {% raw %}" in page.read_text() and str(escape(HOSTILE)) in page.read_text(encoding="utf-8")


def test_the_page_needs_no_other_file_and_no_network(tree):
    for element in tree.all():
        assert element.tag != "a" or element.attributes["href"].startswith("#")
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert element.attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), element.attributes
        assert element.tag not in ("link", "iframe", "object")
    (style,) = tree.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    (policy,) = (e for e in tree.all("meta") if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_every_figure_is_in_the_page_and_beside_it_in_colours_of_the_page(tree, page):
    drawings = list(tree.all("svg"))
    assert {path.stem for path in page.parent.glob("*.png")} == {"loss", "rouge_l", "cosine", "lengths", "distinct"}
    assert len(drawings) == 5 and all(drawing.attributes["role"] == "img" for drawing in drawings)
    for file in page.parent.glob("*.png"):
        with Image.open(file) as image:
            assert image.width > 600 and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    ids = [element.attributes["id"] for element in tree.all() if "id" in element.attributes]
    for drawing in drawings:
        styles = " ".join(element.attributes.get("style") or "" for element in drawing.all())
        assert "currentColor" in styles and "var(--run-0)" in styles and not re.findall(r": #(?!fff)\w+", styles)
        for element in drawing.all():
            for target in re.findall(r"#([\w-]+)", " ".join(map(str, element.attributes.values()))):
                assert target in ids
        assert "plain" in drawing.text and "a_$b$" in drawing.text
    assert len(set(ids)) == len(ids)


def test_the_controls_have_labels_and_the_headings_no_gaps(tree):
    for control in [*tree.all("input"), *tree.all("select")]:
        assert control.parent.tag == "label" and control.parent.text.strip()
    levels = [int(element.tag[1]) for element in tree.all() if element.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_most_frequent_trigrams_are_counted_once_a_caption():
    captions = ["a dog a dog a dog", "A dog runs .", "a dog runs far", "cat"]
    found = [("a dog runs", 0.5), ("a dog a", 0.25), ("dog a dog", 0.25), ("dog runs far", 0.25)]
    assert trigram_shares(captions, score_tokens) == found


def test_distinct_n_is_the_share_of_different_ngrams():
    assert distinct_ngrams([["a", "b", "a"], ["a", "b"]]) == pytest.approx([2 / 5, 2 / 3, 1, 0])


@pytest.mark.parametrize(("photos", "count"), [(10, 6), (10, 7), (10, 10), (10, 50), (2, 60), (1, 1), (5, 0)])
def test_best_and_worst_are_those_of_the_whole_split_and_no_photo_comes_twice(photos, count):
    scores = np.random.default_rng(photos).permutation(photos) / photos
    chosen = choose_photos(scores, count)
    indices = [index for group in chosen.values() for index in group]
    assert len(indices) == len(set(indices)) == min(count, photos)
    best, _, worst = ([scores[index] for index in chosen[name]] for name in ("best", "random", "worst"))
    third = min(count, photos) // 3
    assert best == sorted(scores)[::-1][:third] and worst == sorted(scores)[:third]


def test_a_distribution_line_gives_the_share_of_values_up_to_each():
    line = plots.distribution_line("x", [0.5, 2.5, 1.5, 1.5])
    assert (line.x, line.y) == ([0.5, 1.5, 1.5, 2.5], [0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("positions", [[], [0.5], [0.2, 0.9, 0.5], [0.99, 0.98, 1.0], [0, 0, 0, 0.05], [1.0] * 5])
def test_labels_are_apart_in_the_order_of_their_lines_and_inside_the_figure(positions):
    found = plots.spread(positions, 0.1)
    assert np.argsort(found, kind="stable").tolist() == np.argsort(positions, kind="stable").tolist()
    assert all(b - a > 0.0999 for a, b in itertools.pairwise(sorted(found)))
    assert all(-1e-9 <= place <= 1 for place in found)


def test_smoothing_takes_means_of_neighbours_and_leaves_a_short_line_alone():
    assert plots.smoothed([1, 2, 3, 4], [10, 20, 30, 50], points=2) == ([1.5, 3.5], [15, 40])
    assert plots.smoothed([1, 2], [5, 7]) == ([1, 2], [5, 7]) and plots.smoothed([], []) == ([], [])


def test_a_thinned_line_keeps_both_ends_and_evenly_spaced_values():
    assert plots.thinned(range(9), range(10, 19), points=3) == ([0, 4, 8], [10, 14, 18])
    assert plots.thinned([1, 2], [5, 7]) == ([1, 2], [5, 7]) and plots.thinned([], []) == ([], [])


def test_the_learning_rate_is_the_logged_one_and_a_constant_one_or_none_has_no_figure(folder, tmp_path, monkeypatch):
    drawn = {}

    def draw_lines(name, title, x_label, y_label, lines, **options):
        drawn[name] = {line.label: (list(line.x), list(line.y)) for line in lines}

    monkeypatch.setattr(plots, "draw_lines", draw_lines)
    paths = {}
    for name, rates in (("falling", [4e-3, 3e-3, 2e-3, 1e-3]), ("constant", [1e-3] * 4), ("unlogged", [])):
        paths[name] = write_run(tmp_path / name, folder / "records", evaluation(1), epochs=2)
        if rates:
            (paths[name] / STEPS_FILE).unlink()
            steps = zip(range(2, 9, 2), rates, strict=True)
            append_lines(paths[name] / STEPS_FILE, [{"step": s, "loss": 1.0, "learning_rate": r} for s, r in steps])
    learning_rate_figure(read_runs(list(paths.values()))[1])
    epochs = [0.5, 1.0, 1.5, 2.0]  # of four steps
    assert drawn["learning_rate"] == {"falling": (epochs, [4e-3, 3e-3, 2e-3, 1e-3]), "constant": (epochs, [1e-3] * 4)}
    assert learning_rate_figure(read_runs([paths["constant"], paths["unlogged"]])[1]) is None


def test_the_metric_that_decides_has_a_figure_in_which_the_kept_epoch_has_a_star(folder, tmp_path, monkeypatch):
    drawn = {}

    def draw_lines(name, title, x_label, y_label, lines, **options):
        drawn[name] = title, {line.label: line.star for line in lines}

    monkeypatch.setattr(plots, "draw_lines", draw_lines)
    scores = [0.2, 0.4, 0.4, 0.1]  # the second epoch is kept: the third is not better
    losses = [3.0, 2.5, 2.0, 2.2]
    history = [
        {"epoch": e, "step": e, "train_loss": 1.0, "dev_loss": loss, "dev_cider": score, "dev_bleu_4": 0.1}
        for e, (score, loss) in enumerate(zip(scores, losses, strict=True), start=1)
    ]
    paths = []
    for metric in ("dev_cider", "dev_loss"):
        paths.append(
            write_run(tmp_path / metric, folder / "records", evaluation(1), early_stopping_metric=metric, epochs=4)
        )
        (paths[-1] / METRICS_FILE).unlink()
        append_lines(paths[-1] / METRICS_FILE, history)
    training_figures(read_runs(paths)[1])
    star = " (star: the epoch that was kept)"
    assert drawn["cider"] == (f"CIDEr-D of greedy captions of dev{star}", {"dev_cider": 1, "dev_loss": None})
    assert drawn["loss"][0].endswith(star)
    assert drawn["loss"][1]["dev_loss"] == 2 and drawn["loss"][1]["dev_cider"] is None
    assert drawn["bleu"] == ("BLEU-4 of greedy captions of dev", {"dev_cider": None, "dev_loss": None})


def test_a_star_is_drawn_at_its_point():
    plain, starred = (
        plots.draw_lines("x", "Title", "x", "y", [plots.Line("a", [1, 2], [3, 4], 0, star=star)]).svg
        for star in (None, 1)
    )
    assert str(starred).count("<use ") == str(plain).count("<use ") + 1


def test_captions_and_references_have_their_punctuation_beside_the_words(folder, tmp_path):
    photos = {
        "dog.jpg": (["A dog , wet , runs .", "the dog 's toy ."], "a dog runs ."),
        "cat.jpg": (["A cat ."], "cat"),
    }
    run = write_run(tmp_path / "run", folder / "records", evaluation(1, photos=photos))
    tree = parse(write_report([run], output=tmp_path / "page", photo_count=36).read_text(encoding="utf-8"))
    card = cards(tree)["dog.jpg"]
    assert [item.text for item in card.all("li")] == ["A dog, wet, runs.", "the dog's toy."]
    assert [item.text for item in card.all("span", class_="text")] == ["a dog runs."]
    assert next(card.all("img")).attributes["alt"] == "A dog, wet, runs."
    assert "is “a man.”" in cells(tree, "Scores")[1].text


def test_dev_comes_before_test_and_only_a_split_that_all_runs_have(folder, tmp_path):
    data = folder / "records"
    both = write_run(tmp_path / "both", data, evaluation(1) | evaluation(1, "test"))
    test = write_run(tmp_path / "test", data, evaluation(2, "test"))
    assert read_runs([both])[0] == "dev"
    assert read_runs([both, test])[0] == "test"


def test_a_run_without_evaluation_is_told_the_command(folder, tmp_path, capsys):
    bare = write_run(tmp_path / "bare [1]", folder / "records", {})
    other = write_run(tmp_path / "other", folder / "records", evaluation(1, "test"))
    for arguments, named, split in (
        ([bare], f"'{bare}'", "dev"),
        ([bare, other], f"'{bare}'", "test"),
        ([other, "--split", "dev"], f"{other}", "dev"),
    ):
        assert command.main([*map(str, arguments), "--output", str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and f"tfcaption.evaluate --run {named} --split {split}" in error
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_be_compared_are_one_line_that_names_them(folder, tmp_path, capsys):
    plain = folder / "runs" / "plain"
    elsewhere = {"other.jpg": PHOTOS["dog.jpg"]}
    other = write_run(tmp_path / "other", folder / "records", evaluation(1, photos=elsewhere))
    torn = write_run(tmp_path / "torn", folder / "records", evaluation(1))
    (torn / "eval-dev" / "captions.jsonl").write_text('{"id": "dog.jpg"')
    characters = evaluation(1, score_tokenizer="characters")
    by_characters = write_run(tmp_path / "by_characters", folder / "records", characters)
    for arguments, message in (
        ([tmp_path / "none"], "none: no such run directory; train one with"),
        (
            [plain, by_characters],
            f"{plain} was scored with --score_tokenizer treebank, {by_characters} with characters, so they cannot be "
            "compared; run "
            f"python -m tfcaption.evaluate --run {plain} {by_characters} --split dev --score_tokenizer treebank",
        ),
        ([plain, other], "captioned no photo in common"),
        ([other], "has no photo other.jpg in its dev split"),
        ([torn], f"tfcaption.evaluate --run {torn} --split dev"),
        ([plain, "--records", tmp_path / "none"], f"{tmp_path / 'none'}: no such folder"),
    ):
        assert command.main([*map(str, arguments), "--output", str(tmp_path / "out")]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert message in line
    with pytest.raises(RunError, match="plain: is given twice"):  # the command takes each path once
        read_runs([plain, plain])


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_a_package_of_the_extra_the_packages_to_install_are_named_and_help_is_printed(folder, package):
    code = f"import sys; sys.modules[{package!r}] = None; from tfcaption.report import main; sys.exit(main())"
    command = [sys.executable, "-c", code]
    done = subprocess.run([*command, str(folder / "runs" / "plain")], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr.startswith(f"error: {package} is not installed; pip install 'jinja2<") and "matplot" in done.stderr
    )
    assert subprocess.run([*command, "--help"], capture_output=True).returncode == 0


def test_a_report_needs_no_tensorflow(folder, tmp_path):
    code = "import sys; from tfcaption.report import main; main(sys.argv[1:]); print('tensorflow' in sys.modules)"
    arguments = [str(folder / "runs" / "plain"), "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_a_run_with_captions_and_nothing_else_has_a_page_beside_it(folder, tmp_path, capsys):
    lines = [{"id": photo, "caption": entry[1], "references": entry[0]} for photo, entry in PHOTOS.items()]
    run = write_run(tmp_path / "_bare", folder / "records", {"eval-dev": (lines, {})})
    (run / METRICS_FILE).unlink()
    (run / STEPS_FILE).write_text('{"step": 1')  # killed while writing
    assert command.main([str(run), "--photos", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"page: {tmp_path / 'report' / 'report.html'}")
    tree = parse((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert len(cards(tree)) == 2 and len(list(tree.all("svg"))) == 3  # no curves, no cosine
    assert all("_bare" in drawing.text for drawing in tree.all("svg"))  # in the legend


def test_two_runs_of_one_name_are_told_apart_by_their_paths(folder, tmp_path):
    paths = [write_run(tmp_path / name / "run", folder / "records", evaluation(1)) for name in ("a", "b")]
    assert [run.name for run in read_runs(paths)[1]] == list(map(str, paths))


def test_runs_that_captioned_different_photos_are_compared_on_those_in_common_and_the_page_says_so(folder, tmp_path):
    fewer = {photo: PHOTOS[photo] for photo in ("dog.jpg", "man.jpg")}
    human = {"human": {"bleu_4": 0.3}}
    path = write_run(tmp_path / "human", folder / "records", evaluation(1, photos=fewer, bleu_4=0.1, **human))
    page = write_report([folder / "runs" / "plain", path], output=tmp_path, photo_count=36)
    tree = parse(page.read_text(encoding="utf-8"))
    assert set(cards(tree)) == set(fewer) and "the 2 photos in common" in next(tree.all("footer")).text
    table, _ = cells(tree, "Scores")
    assert table[""] == ["plain", "human", "constant caption", "people"]  # no intervals: the photos differ
    assert table["BLEU-4"] == ["0.200", "0.100", "0.050", "0.300"]


# --- in a browser ----------------------------------------------------------------------------------------


def dumped(browser, page, folder, actions):
    """The page as it is after its script and these actions of a person ran."""
    file = folder / "acted.html"
    file.write_text(page.read_text(encoding="utf-8").replace("</body>", f"<script>{actions}</script></body>"))
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [browser, *quiet, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def acted(order="listed", text="", without=()):
    return f"""
const form = document.getElementById("controls");
document.getElementById("order").value = {json.dumps(order)};
document.getElementById("text").value = {json.dumps(text)};
for (const run of {json.dumps(without)}) form.querySelector(`[name=run][value="${{run}}"]`).checked = false;
form.dispatchEvent(new Event("input"));"""


def test_the_page_sorts_and_filters_in_a_browser(browser, page, tree, tmp_path):
    scores = {
        photo: [float(p.attributes["data-score"]) for p in card.all("p", class_="caption")]
        for photo, card in cards(tree).items()
    }

    def order_of(tree):
        return [
            [card.attributes["data-id"] for card in group.all("article")] for group in tree.all("div", class_="photos")
        ]

    groups = order_of(tree)
    keys = {
        "best": lambda photo: -sum(scores[photo]),
        "disagreement": lambda photo: -abs(scores[photo][0] - scores[photo][1]),
        "id": lambda photo: photo,
    }
    together = [photo for group in groups for photo in group]
    assert groups[0] == []  # of the orders below, in which all photos are one group: the worst photo is the first
    for order, key in keys.items():
        found = order_of(dumped(browser, page, tmp_path, acted(order)))
        assert found == [sorted(together, key=key), *([] for _ in groups[1:])]
    listed = f"{acted('worst')} {acted('listed').replace('const form', 'const again')}"
    assert order_of(dumped(browser, page, tmp_path, listed)) == groups
    # Of the second run alone, whose captions of two photos have "cat"; the first run's caption of the third has none.
    found = dumped(browser, page, tmp_path, acted("worst", "A CAT sleeps on a", without=[0]))
    assert [photo for photo, card in cards(found).items() if "hidden" not in card.attributes] == ["cat.jpg"]
    assert all("hidden" in p.attributes for p in found.all("p", class_="caption") if p.attributes["data-run"] == "0")
    assert next(found.all("output")).text == "1 of 5 photos"
    found = dumped(browser, page, tmp_path, acted("worst", without=[0]))
    assert order_of(found)[0] == sorted(together, key=lambda photo: scores[photo][1])
    headings = [group for group in found.all("section", class_="group") if "hidden" not in group.attributes]
    assert [next(group.all("h3")).text for group in headings] == ["All photos of this page (5)"]


WIDTHS = (1400, 390)
LAYOUT = """
window.found = [];
window.addEventListener("error", (event) => window.found.push(event.message));
console.error = (text) => window.found.push(text);
"""
MEASURE = """
window.addEventListener("load", () => {
  const outcome = Array.from(document.querySelectorAll("iframe"), (frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    return {
      overflow: root.scrollWidth - root.clientWidth,
      faults: frame.contentWindow.found,
      silent: Array.from(page.images).filter((image) => !image.hasAttribute("alt")).length,
      broken: Array.from(page.images).filter((image) => !image.naturalWidth).length,
      shown: page.querySelectorAll(".photo").length,
    };
  });
  document.getElementById("outcome").textContent = JSON.stringify(outcome);
});
"""


def test_the_page_fits_a_desktop_and_a_phone_without_faults(browser, page, tmp_path):
    """In frames of both widths, since a window of Chromium cannot be as narrow as a phone."""
    inner = escape(page.read_text(encoding="utf-8").replace("<head>", f"<head><script>{LAYOUT}</script>", 1))
    frames = "".join(f'<iframe srcdoc="{inner}" width="{width}" height="900"></iframe>' for width in WIDTHS)
    outer = tmp_path / "frames.html"
    outer.write_text(f"<html><body>{frames}<p id='outcome'></p></body></html>", encoding="utf-8")
    (outcome,) = (part for part in dumped(browser, outer, tmp_path, MEASURE).all("p", id="outcome"))
    expected = {"overflow": 0, "faults": [], "silent": 0, "broken": 0, "shown": len(PHOTOS)}
    assert json.loads(outcome.text) == [expected] * len(WIDTHS)
