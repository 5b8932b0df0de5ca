"""Statistics of captions without references: length, vocabulary, novelty, repetition, bad endings."""

from collections.abc import Iterable, Set

import numpy as np

from tfcaption.metrics.score_tokenizers import TREEBANK, Tokenize

# Words that cannot end a sentence, after the list in ImageCaptioning.pytorch. Human captions end with a few of them
# ("with his helmet on"), so compare the share with that of the references.
BAD_ENDINGS = frozenset(
    [
        *("a", "an", "the", "his", "her", "its", "their", "and", "or", "but", "while", "as", "that"),
        *("in", "on", "at", "of", "to", "for", "from", "by", "with", "without", "into", "onto", "upon"),
        *("near", "under", "over", "before", "after", "is", "are", "am", "was", "were"),
    ]
)


def caption_statistics(
    captions: Iterable[str], training_captions: Set[tuple[str, ...]], tokenize: Tokenize = TREEBANK.tokenize
) -> dict[str, float]:
    """Statistics of captions by their score tokens, so case and punctuation make no difference.

    Args:
        captions: raw captions, one per photo, in any order.
        training_captions: score tokens of the captions that the captioner was trained on.
        tokenize: divides captions into score tokens.

    Returns:
        `mean_words` per caption, `distinct_captions` (a count), `vocabulary_used` (a count of words), and shares of
        captions from 0 to 1: `novel_share` (not among the training captions), `repeated_trigram_share` (with a trigram
        that occurs twice), `bad_ending_share` (ending in one of `BAD_ENDINGS`).

    Raises:
        ValueError: there are no captions.
    """
    tokenized = [tokenize(caption) for caption in captions]
    if not tokenized:
        raise ValueError("no captions to describe")
    return {
        "mean_words": float(np.mean([len(tokens) for tokens in tokenized])),
        "distinct_captions": len(set(tokenized)),
        "vocabulary_used": len({word for tokens in tokenized for word in tokens}),
        "novel_share": float(np.mean([tokens not in training_captions for tokens in tokenized])),
        "repeated_trigram_share": float(np.mean([_repeats_trigram(tokens) for tokens in tokenized])),
        "bad_ending_share": float(np.mean([tokens[-1:] != () and tokens[-1] in BAD_ENDINGS for tokens in tokenized])),
    }


def _repeats_trigram(tokens: tuple[str, ...]) -> bool:
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)
