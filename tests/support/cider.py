"""CIDEr-D by brute force."""

import numpy as np


def brute_force_cider(hypotheses, references):
    """CIDEr-D as the paper's formulas say it, with dense vectors over all n-grams, n by n."""

    def ngrams(caption, n):
        words = caption.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = []
    for photo, spoken in hypotheses.items():
        of_references = []
        for reference in references[photo]:
            of_n = []
            for n in range(1, 5):
                every = sorted({g for r in references.values() for c in r for g in ngrams(c, n)} | {*ngrams(spoken, n)})
                having = [sum(any(g in ngrams(c, n) for c in r) for r in references.values()) for g in every]
                idf = np.log(len(references) / np.maximum(having, 1))
                mine, other = (np.array([ngrams(c, n).count(g) for g in every]) * idf for c in (spoken, reference))
                norm = np.linalg.norm(mine) * np.linalg.norm(other)
                of_n.append(np.minimum(mine, other) @ other / norm if norm else 0.0)
            apart = len(spoken.split()) - len(reference.split())
            of_references.append(10 * np.mean(of_n) * np.exp(-(apart**2) / (2 * 6.0**2)))
        scores.append(np.mean(of_references))
    return np.mean(scores)
