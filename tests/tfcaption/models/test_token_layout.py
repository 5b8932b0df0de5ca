"""Packed and padded tokens give equal values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions, features_of
from tfcaption.models.token_layout import PackedTokens
from tfcaption.records.vocabulary import END, PAD


def test_packing_removes_the_padding_and_nothing_else():
    tokens = captions().reshape(12, -1)
    packed = PackedTokens(tf.constant(tokens))
    real = (tokens[:, 1:] != PAD).sum()
    assert len(packed.inputs) == len(packed.targets) == int(tf.reduce_sum(packed.counts)) == real
    unpacked, position = np.zeros_like(tokens), 0
    unpacked[:, 0] = tokens[:, 0]
    inputs, targets = packed.inputs.numpy(), packed.targets.numpy()
    for time, count in enumerate(packed.counts.numpy()):
        active = packed.order.numpy()[:count]
        assert (unpacked[active, time] == inputs[position : position + count]).all()
        unpacked[active, time + 1] = targets[position : position + count]
        position += count
    np.testing.assert_array_equal(unpacked, tokens)
    by_caption = packed.to_captions(packed.targets[:, None])
    np.testing.assert_array_equal(by_caption[..., 0], np.where(tokens[:, 1:] != PAD, tokens[:, 1:], 0))
    np.testing.assert_array_equal(packed.from_captions(by_caption)[:, 0], packed.targets)
    np.testing.assert_array_equal(packed.to_captions(packed.times[:, None])[0, :3, 0], [0, 1, 2])


@pytest.mark.parametrize("lengths", ["mixed", "one", "equal"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_packed_pass_equals_the_padded_one_with_all_its_gradients(decoder, lengths):
    tokens = captions(9)
    if lengths == "one":
        tokens[..., 1] = END
        tokens[..., 2:] = PAD
    if lengths == "equal":
        tokens[..., 1:] = 5
        tokens[..., -1] = END
    tokens[1, 1] = PAD  # a missing caption
    results = []
    for compiled in (False, True):  # packed, padded
        model = captioner(encoder_weights=None, image_size=64, compiled=compiled, **DECODERS[decoder])
        features = features_of(model)
        with tf.GradientTape() as tape:
            tape.watch(features)
            sums = model.token_sums(features, tf.constant(tokens))
        results.append([*sums, *tape.gradient(sums.loss, [features, *model.decoder.trainable_variables])])
    for packed, padded in zip(*results, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(packed), tf.convert_to_tensor(padded), rtol=1e-4, atol=2e-5)
