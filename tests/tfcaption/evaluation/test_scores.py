"""The table of metrics holds every score there is."""

from tfcaption.evaluation.references import References
from tfcaption.evaluation.scores import METRICS, score_captions, score_table


def test_every_score_has_a_row_of_the_table(tmp_path):
    glove = tmp_path / "glove.txt"
    glove.write_text("a 1 0\ndog 0 1\nruns 1 1\n")
    captions = {"p": ["a dog runs", "a dog"], "q": ["runs", "a dog runs fast"]}
    references = References(captions, frozenset({("a", "dog")}), "a dog")
    scores, _ = score_captions({"p": "a dog", "q": "a dog runs"}, references, str(glove))
    assert set(scores) - {"constant", "human", "score_tokenizer"} <= METRICS.keys()
    table = score_table({"run": scores, "human": scores["human"]})
    assert all(METRICS[name].label in table for name in scores.keys() & METRICS.keys())
