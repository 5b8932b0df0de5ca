"""What a set of captions is like, whatever the photos show: how long, how varied, how often broken."""

from collections.abc import Iterable, Set

import numpy as np

from tfcaption.metrics.tokens import score_tokens

# Where a sentence cannot end, after the list in ImageCaptioning.pytorch. People do end captions with a few of these
# ("with his helmet on"), so read the share beside theirs.
BAD_ENDINGS = frozenset(
    [
        *("a", "an", "the", "his", "her", "its", "their", "and", "or", "but", "while", "as", "that"),
        *("in", "on", "at", "of", "to", "for", "from", "by", "with", "without", "into", "onto", "upon"),
        *("near", "under", "over", "before", "after", "is", "are", "am", "was", "were"),
    ]
)


def caption_statistics(captions: Iterable[str], training: Set[tuple[str, ...]]) -> dict[str, float]:
    """Statistics of captions, all by `metrics.score_tokens`, so case and punctuation make no difference.

    Args:
        captions: raw, one a photo, in any order.
        training: the score tokens of the captions that the captioner learnt from.

    Returns:
        `mean_words` of a caption, `distinct_captions` (how many), `vocabulary_used` (how many words), and the shares
        of captions, from 0 to 1: `novel_share` not among the training captions, `repeated_trigram_share` with three
        words in a row twice, `bad_ending_share` ending in one of `BAD_ENDINGS`.

    Raises:
        ValueError: there is no caption.
    """
    spoken = [tuple(score_tokens(caption)) for caption in captions]
    if not spoken:
        raise ValueError("no captions to describe")
    return {
        "mean_words": float(np.mean([len(tokens) for tokens in spoken])),
        "distinct_captions": len(set(spoken)),
        "vocabulary_used": len({word for tokens in spoken for word in tokens}),
        "novel_share": float(np.mean([tokens not in training for tokens in spoken])),
        "repeated_trigram_share": float(np.mean([_repeats_trigram(tokens) for tokens in spoken])),
        "bad_ending_share": float(np.mean([tokens[-1:] != () and tokens[-1] in BAD_ENDINGS for tokens in spoken])),
    }


def _repeats_trigram(tokens: tuple[str, ...]) -> bool:
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)
