"""CIDEr-D by brute force."""

import numpy as np


def brute_force_cider(hypotheses, references):
    """CIDEr-D by the paper's formulas, with dense vectors over all n-grams of each n."""

    def ngrams(caption, n):
        words = caption.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = []
    for photo, hypothesis in hypotheses.items():
        of_references = []
        for reference in references[photo]:
            of_n = []
            for n in range(1, 5):
                every = sorted(
                    {g for r in references.values() for c in r for g in ngrams(c, n)} | {*ngrams(hypothesis, n)}
                )
                having = [sum(any(g in ngrams(c, n) for c in r) for r in references.values()) for g in every]
                idf = np.log(len(references) / np.maximum(having, 1))
                tf_idf, other = (
                    np.array([ngrams(c, n).count(g) for g in every]) * idf for c in (hypothesis, reference)
                )
                norm = np.linalg.norm(tf_idf) * np.linalg.norm(other)
                of_n.append(np.minimum(tf_idf, other) @ other / norm if norm else 0.0)
            apart = len(hypothesis.split()) - len(reference.split())
            of_references.append(10 * np.mean(of_n) * np.exp(-(apart**2) / (2 * 6.0**2)))
        scores.append(np.mean(of_references))
    return np.mean(scores)
