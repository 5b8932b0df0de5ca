"""ROUGE-L: F-measure of the longest common subsequence (Lin 2004)."""

from collections.abc import Sequence

from tfcaption.metrics.tokens import Tokens

ROUGE_BETA = 1.2  # recall counts beta times as much as precision (coco-caption, rouge.py)


def rouge_l(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """F-measure of the best precision and the best recall of any reference, from 0 to 1."""
    common = [longest_common_subsequence(hypothesis, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(hypothesis)
    recall = max(length / max(len(reference), 1) for length, reference in zip(common, references, strict=True))
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence: tokens in the same order, with any tokens between them."""
    lengths = [0] * (len(second) + 1)  # of `first` so far and each prefix of `second`
    for token in first:
        diagonal = 0  # the entry to the left, before this token of `first`
        for index, other in enumerate(second, start=1):
            diagonal, lengths[index] = (
                lengths[index],
                diagonal + 1 if token == other else max(lengths[index], lengths[index - 1]),
            )
    return lengths[-1]
