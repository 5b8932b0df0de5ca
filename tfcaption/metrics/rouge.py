"""ROUGE-L: F-measure of the longest common subsequence (Lin 2004)."""

from collections.abc import Sequence

ROUGE_BETA = 1.2  # how much more recall counts than precision (coco-caption, rouge.py)


def rouge_l(spoken: Sequence[str], expected: Sequence[Sequence[str]]) -> float:
    """F-measure of the longest common subsequence, with the best precision and the best recall of any reference."""
    common = [longest_common_subsequence(spoken, reference) for reference in expected]
    if not any(common):
        return 0.0
    precision = max(common) / len(spoken)
    recall = max(length / max(len(reference), 1) for length, reference in zip(common, expected, strict=True))
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both have in this order, with any words between them."""
    lengths = [0] * (len(second) + 1)  # of `first` so far and each beginning of `second`
    for mine in first:
        before = 0
        for index, other in enumerate(second, start=1):
            before, lengths[index] = (
                lengths[index],
                before + 1 if mine == other else max(lengths[index], lengths[index - 1]),
            )
    return lengths[-1]
