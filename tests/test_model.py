"""Loss, encoder and decoder: against brute force, Keras, and one another."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models import encoder
from tfcaption.models.captioner import Captioner
from tfcaption.models.encoder import Encoder, EncoderError
from tfcaption.models.layers import dropout
from tfcaption.models.loss import attention_penalty, token_sums
from tfcaption.models.token_layout import PackedTokens, PaddedTokens
from tfcaption.records.vocabulary import END, PAD, START

WORDS = 11


DECODERS = {
    "gru": {"decoder": "gru"},
    "bahdanau": {"decoder": "attention", "attention_score": "bahdanau"},
    "luong": {"decoder": "attention", "attention_score": "luong"},
    "transformer": {"decoder": "transformer"},
}


def captioner(variant="frozen", seed=0, encoder_weights="random", compiled=False, image_size=32, **options):
    keras.utils.set_random_seed(seed)
    sizes = {"gru_units": 16, "dense_units": 12, "attention_units": 8, "transformer_units": 16, "transformer_heads": 2}
    config = ModelConfig(variant=variant, weights="random", **sizes, **options)
    embedding = np.random.default_rng(seed).normal(0, 1, (WORDS, 6)).astype(np.float32)
    return Captioner(
        config,
        image_size=image_size,
        embedding=embedding,
        encoder_weights=encoder_weights,
        max_tokens=40,
        compiled=compiled,
    )


@pytest.fixture(scope="module")
def model():
    return captioner(dropout=0.4)


@pytest.fixture(params=DECODERS)
def any_model(request):
    """A model with each decoder, over four regions."""
    return captioner(encoder_weights=None, image_size=64, **DECODERS[request.param])


def features_of(model, photos=6):
    return tf.random.stateless_normal((photos, *model.encoder.feature_shape(model.decoder.stage)), [1, 2])


@pytest.fixture(scope="module")
def images():
    blocks = np.random.default_rng(4).integers(0, 256, (6, 4, 4, 3))
    return tf.constant(np.kron(blocks, np.ones((1, 8, 8, 1))).astype(np.uint8))


def captions(length=7):
    """(6 photos, 2 captions, length): from <start> to <end>, then padding; one photo's second caption is missing."""
    generator = np.random.default_rng(2)
    tokens = np.zeros((6, 2, length), np.int32)
    for photo in range(6):
        for k in range(2 if photo else 1):
            words = generator.integers(4, WORDS, generator.integers(1, 5))
            tokens[photo, k, : len(words) + 2] = [START, *words, END]
    return tokens


# --- loss ------------------------------------------------------------------------------------------------


def test_loss_is_the_cross_entropy_of_the_real_targets_and_nothing_else():
    targets = captions()[..., 1:]
    logits = np.random.default_rng(0).normal(0, 2, (*targets.shape, WORDS)).astype(np.float32)
    loss, correct, count = 0.0, 0, 0
    for index in np.ndindex(*targets.shape):
        if targets[index] != PAD:
            p = np.exp(logits[index].astype(np.float64))
            loss -= np.log(p[targets[index]] / p.sum())
            correct += logits[index].argmax() == targets[index]
            count += 1
    sums = token_sums(tf.constant(logits), tf.constant(targets))
    np.testing.assert_allclose([float(value) for value in sums], [loss, correct, count], rtol=1e-5)
    assert count == sum((caption != PAD).sum() - 1 for photo in captions() for caption in photo if caption.any())


def test_label_smoothing_is_the_cross_entropy_against_the_smoothed_target():
    targets = captions()[..., 1:]
    logits = np.random.default_rng(0).normal(0, 2, (*targets.shape, WORDS)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    smoothed = 0.9 * np.eye(WORDS)[targets] + 0.1 / WORDS
    expected = -(smoothed * log_p).sum(-1)[targets != PAD].sum()
    assert float(token_sums(tf.constant(logits), tf.constant(targets), 0.1).loss) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_neither_loss_nor_accuracy_nor_gradients(model, images):
    results = []
    for length in (7, 20, 40):
        with tf.GradientTape() as tape:
            sums = model.token_sums(model.encode(images), tf.constant(captions(length)))
        results.append([*sums, *tape.gradient(sums.loss, model.decoder.trainable_variables)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=2e-4, atol=2e-5)


def test_the_mask_comes_from_the_targets_not_from_the_inputs(model, images):
    """The step whose input is <end> has <pad> as its target: it must not count."""
    tokens = tf.constant(captions())
    with_end_as_input = tf.reduce_sum(tf.cast(tokens[..., :-1] != PAD, tf.float32))
    sums = model.token_sums(model.encode(images), tokens)
    assert float(sums.tokens) == float(with_end_as_input) - 11  # one less for each of 11 captions


def test_logits_and_loss_are_float32_under_every_precision_policy(images):
    for policy in ("mixed_bfloat16", "mixed_float16", "float32"):
        keras.mixed_precision.set_dtype_policy(policy)
        try:
            mixed = captioner()
            features = mixed.encode(images)
            logits = mixed.predict(features, tf.constant(captions())).logits
            assert logits.dtype == tf.float32
            assert features.dtype == (policy.removeprefix("mixed_"))
            assert all(v.dtype == "float32" for v in mixed.trainable_variables)
            assert np.isfinite(logits.numpy()).all()
        finally:
            keras.mixed_precision.set_dtype_policy("float32")


# --- encoder ---------------------------------------------------------------------------------------------


def test_preprocessing_is_that_of_keras(images):
    expected = keras.applications.resnet50.preprocess_input(images.numpy().astype(np.float32))
    np.testing.assert_array_equal(encoder.preprocess(images), expected)


def test_the_two_halves_are_resnet50(images):
    half = Encoder(image_size=32, weights="random", finetuned=False)
    whole = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in (layer for layer in whole.layers if layer.weights):
        source = half.trunk if layer.name in {found.name for found in half.trunk.layers} else half.head
        layer.set_weights(source.get_layer(layer.name).get_weights())
    expected = whole(encoder.preprocess(images), training=False)
    np.testing.assert_allclose(half(images, end="map"), expected, rtol=1e-4, atol=1e-5)


def test_the_stages_follow_one_another(images):
    subject = Encoder(image_size=32, weights="random", finetuned=True)
    trunk = subject(images, end="trunk")
    maps = subject(trunk, start="trunk", end="map")
    assert [tuple(x.shape[1:]) for x in (images, trunk, maps)] == [
        subject.feature_shape(stage) for stage in ("photo", "trunk", "map")
    ]
    pooled = subject(maps, start="map")
    np.testing.assert_allclose(pooled, maps.numpy().mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled, subject(images), rtol=1e-5)
    assert subject.feature_shape("pooled") == (2048,)


def test_the_head_as_matrix_products_is_the_head_with_its_gradients():
    subject = Encoder(image_size=96, weights="random", finetuned=True)
    maps = tf.nn.relu(tf.random.stateless_normal((4, *subject.feature_shape("trunk")), [1, 2]))
    results = []
    for head in (lambda x: subject.head(x, training=False), lambda x: encoder.products_of_head(subject.head, x)):
        with tf.GradientTape() as tape:
            output = head(maps)
            loss = tf.reduce_mean(output**2)
        results.append([output, *tape.gradient(loss, subject.head.trainable_variables)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(a))))


def test_the_fingerprint_tells_weights_and_what_a_stage_depends_on():
    subject = Encoder(image_size=32, weights="random", finetuned=True)
    trunk, pooled = subject.fingerprint("trunk"), subject.fingerprint("pooled")
    bias = subject.head.get_layer("conv5_block3_3_conv").bias
    bias.assign(bias + 1e-3)
    assert subject.fingerprint("trunk") == trunk and subject.fingerprint("pooled") != pooled
    bias = subject.trunk.get_layer("conv1_conv").bias
    bias.assign(bias + 1e-3)
    assert subject.fingerprint("trunk") != trunk


def test_only_conv5_block2_and_conv5_block3_can_train():
    names = {variable.path.split("/")[-2] for variable in captioner("finetuned").encoder.trainable_variables}
    assert {name[:12] for name in names} == {"conv5_block2", "conv5_block3"}
    head = captioner("finetuned").encoder.head
    with_weights = {layer.name for layer in head.layers if layer.weights}
    assert names == with_weights
    assert captioner("frozen").encoder.trainable_variables == []


def test_the_decoder_begins_with_the_same_weights_whatever_the_encoder_is():
    first, second = (captioner(encoder_weights=weights).decoder.get_weights() for weights in ("random", None))
    other = captioner(encoder_weights=None, seed=1).decoder.get_weights()
    for one, same, different in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not one.any() or (one == 1).all() or not np.array_equal(one, different)


def test_random_weights_are_the_same_each_time_and_tell_pictures_apart(images):
    first = Encoder(image_size=32, weights="random", finetuned=False)(images).numpy()
    encoder._random_weights.cache_clear()
    again = Encoder(image_size=32, weights="random", finetuned=False)(images).numpy()
    np.testing.assert_array_equal(first, again)
    assert first.std(0).mean() > 0.1 * first.mean()


def test_random_weights_are_the_same_under_every_precision_policy():
    prints = set()
    for policy in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_dtype_policy(policy)
        encoder._random_weights.cache_clear()
        try:
            prints.add(Encoder(image_size=32, weights="random", finetuned=False).fingerprint("pooled"))
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
    assert len(prints) == 1


def test_real_weights_load_and_missing_or_wrong_ones_are_clear_errors(tmp_path, shared_data):
    path = shared_data / "data" / "resnet50" / "resnet50_imagenet_notop.weights.h5"
    photo = shared_data / "data" / "flickr8k" / "Flicker8k_Dataset" / "1000268201_693b08cb0e.jpg"
    image = tf.io.decode_jpeg(tf.io.read_file(str(photo)))[None]
    maps = Encoder(image_size=224, weights=str(path), finetuned=False)(image, end="map")
    whole = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3))
    whole.load_weights(path)
    np.testing.assert_allclose(maps, whole(encoder.preprocess(image), training=False), rtol=1e-3, atol=1e-3)


def test_missing_or_wrong_weights_are_clear_errors(tmp_path):
    with pytest.raises(EncoderError, match="nowhere.h5: no such file"):
        Encoder(image_size=32, weights=str(tmp_path / "nowhere.h5"), finetuned=False)
    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(wrong)
    with pytest.raises(EncoderError, match="wrong.weights.h5: not weights of ResNet50"):
        Encoder(image_size=32, weights=str(wrong), finetuned=False)


# --- decoder ---------------------------------------------------------------------------------------------


def test_teacher_forced_logits_equal_step_by_step_logits(any_model):
    tokens = tf.constant(captions())
    features = features_of(any_model)
    whole = any_model.predict(features, tokens).logits
    memory, start = any_model.decoder.start(features)
    state = tf.nest.map_structure(lambda values: tf.repeat(values, 2, axis=0), start)
    for time in range(tokens.shape[2] - 1):
        previous = tf.reshape(tokens[..., time], (-1,))
        logits, state = any_model.decoder.step(previous, state, memory, tf.repeat(tf.range(6), 2))
        np.testing.assert_allclose(logits, tf.reshape(whole[:, :, time], (12, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_checkpoint_holds_all_weights_of_a_decoder(decoder, tmp_path):
    """Keras keeps lists of layers from TensorFlow's checkpoints, which say nothing of it."""
    first, second = (captioner(seed=seed, encoder_weights=None, **DECODERS[decoder]).decoder for seed in (0, 1))
    path = tf.train.Checkpoint(decoder=first).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(decoder=second).restore(path).assert_existing_objects_matched()
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_step_of_some_rows_needs_no_other_rows(any_model):
    features = features_of(any_model)
    memory, state = any_model.decoder.start(features)
    logits, _ = any_model.decoder.step(tf.constant([START] * 6), state, memory, tf.range(6))
    chosen = tf.constant([4, 1, 1])
    some = tf.nest.map_structure(lambda values: tf.gather(values, chosen), state)
    few, _ = any_model.decoder.step(tf.constant([START] * 3), some, memory, chosen)
    np.testing.assert_allclose(few, logits.numpy()[[4, 1, 1]], rtol=1e-4, atol=1e-5)


def test_the_gru_is_the_published_one():
    """Against the equations of Cho et al. 2014 with the reset gate after the matrix product, in NumPy."""
    decoder = captioner().decoder
    kernel, recurrent, (bias, recurrent_bias) = (w.numpy() for w in decoder.gru.cell.weights)
    generator = np.random.default_rng(0)
    x, h = generator.normal(size=(3, 6)), generator.normal(size=(3, 16))
    xz, xr, xh = np.split(x @ kernel + bias, 3, axis=1)
    hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
    z, r = 1 / (1 + np.exp(-xz - hz)), 1 / (1 + np.exp(-xr - hr))
    expected = z * h + (1 - z) * np.tanh(xh + r * hh)
    x, h = tf.constant(x, tf.float32), tf.constant(h, tf.float32)
    np.testing.assert_allclose(decoder.gru.cell(x, [h])[0], expected, rtol=1e-4, atol=1e-5)


def test_packing_leaves_out_the_padding_and_nothing_else():
    tokens = captions().reshape(12, -1)
    packed = PackedTokens(tf.constant(tokens))
    real = (tokens[:, 1:] != PAD).sum()
    assert len(packed.inputs) == len(packed.targets) == int(tf.reduce_sum(packed.counts)) == real
    unpacked, position = np.zeros_like(tokens), 0
    unpacked[:, 0] = tokens[:, 0]
    inputs, targets = packed.inputs.numpy(), packed.targets.numpy()
    for time, count in enumerate(packed.counts.numpy()):
        rows = packed.order.numpy()[:count]
        assert (unpacked[rows, time] == inputs[position : position + count]).all()
        unpacked[rows, time + 1] = targets[position : position + count]
        position += count
    np.testing.assert_array_equal(unpacked, tokens)
    rows = packed.to_rows(packed.targets[:, None])
    np.testing.assert_array_equal(rows[..., 0], np.where(tokens[:, 1:] != PAD, tokens[:, 1:], 0))
    np.testing.assert_array_equal(packed.from_rows(rows)[:, 0], packed.targets)
    np.testing.assert_array_equal(packed.to_rows(packed.times[:, None])[0, :3, 0], [0, 1, 2])


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
    tokens[1, 1] = PAD  # a row that only fills up
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


def test_the_logits_have_the_gradients_of_a_dense_layer(model):
    hidden = tf.random.stateless_normal((3, 5, 12), [1, 2])
    weights = model.decoder.logits.trainable_variables
    upstream = tf.random.stateless_normal((3, 5, WORDS), [3, 4])
    results = []
    for layer in (model.decoder.logits, lambda x: tf.einsum("abi,io->abo", x, weights[0].value) + weights[1].value):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            logits = layer(hidden)
        results.append([logits, *tape.gradient(logits, [hidden, *weights], upstream)])
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_each_photo_is_decoded_from_its_own_features(any_model):
    tokens, features = tf.constant(captions()), features_of(any_model)
    together = any_model.predict(features, tokens).logits
    for photo in range(6):
        alone = any_model.predict(features[photo : photo + 1], tokens[photo : photo + 1]).logits
        np.testing.assert_allclose(alone[0], together[photo], rtol=1e-3, atol=1e-4)
    assert np.abs(together[1] - together[2]).max() > 1e-3


def test_no_position_sees_a_later_one(any_model):
    tokens = captions()
    changed = tokens.copy()
    changed[:, 0, 2:] = 7
    features = features_of(any_model)
    before, after = (any_model.predict(features, tf.constant(x)).logits for x in (tokens, changed))
    np.testing.assert_allclose(before[:, 0, :2], after[:, 0, :2], rtol=1e-5, atol=1e-6)
    assert np.abs(before[:, 0, 3] - after[:, 0, 3]).max() > 1e-3


@pytest.mark.parametrize("decoder", ["bahdanau", "luong", "transformer"])
def test_attention_is_a_distribution_over_regions_that_follows_them_when_they_change_places(decoder):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder])
    tokens, features = tf.constant(captions()), features_of(model)
    logits, attention = model.predict(features, tokens)
    assert attention.shape == (6, 2, 6, 4) and attention.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), 1, rtol=1e-5)
    turned_logits, turned = model.predict(tf.reverse(features, [1, 2]), tokens)
    np.testing.assert_allclose(turned_logits, logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(turned, tf.reverse(attention, [-1]), rtol=1e-3, atol=1e-5)
    assert float(tf.math.reduce_std(attention)) > 1e-3


@pytest.mark.parametrize("score", ["bahdanau", "luong"])
def test_attention_scores_are_the_published_ones(score):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[score])
    decoder = model.decoder
    keys, regions, _ = (x.numpy() for x in decoder.start(features_of(model))[0])
    queries = np.random.default_rng(0).normal(size=(6, 3, 8)).astype(np.float32)
    expected = np.zeros((6, 3, 4))
    for n, q, r in np.ndindex(6, 3, 4):
        if score == "bahdanau":
            expected[n, q, r] = np.tanh(queries[n, q] + keys[n, r]) @ decoder.scores.kernel.numpy()[:, 0]
        else:
            expected[n, q, r] = queries[n, q] @ keys[n, r] / np.sqrt(8)
    expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    seen, attention = decoder._look(tf.constant(queries), tf.constant(keys), tf.constant(regions))
    np.testing.assert_allclose(attention, expected, rtol=1e-4)
    np.testing.assert_allclose(seen, expected @ regions, rtol=1e-3, atol=1e-4)


def test_unevenness_is_the_doubly_stochastic_sum_over_captions_that_are_there():
    attention = np.random.default_rng(0).dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    targets = np.array([[5, 6, 3, 0, 0], [5, 3, 0, 0, 0], [0, 0, 0, 0, 0]])
    expected = ((1 - attention[0, :3].sum(0)) ** 2).sum() + ((1 - attention[1, :2].sum(0)) ** 2).sum()
    assert float(attention_penalty(tf.constant(attention), tf.constant(targets))) == pytest.approx(expected, rel=1e-5)


def test_the_attention_penalty_is_part_of_the_training_loss_alone():
    tokens = tf.constant(captions())
    sums = []
    for penalty in (0.0, 2.0):
        options = {**DECODERS["luong"], "attention_penalty": penalty, "dropout": 0.0}
        model = captioner(encoder_weights=None, image_size=64, **options)
        features = features_of(model)
        sums.append([float(model.token_sums(features, tokens, seed).loss) for seed in (None, tf.constant([1, 2]))])
    attention = model.predict(features, tokens).attention
    expected = 2 * float(attention_penalty(tf.reshape(attention, (12, 6, 4)), tf.reshape(tokens[..., 1:], (12, 6))))
    assert sums[1][0] == pytest.approx(sums[0][0]) == pytest.approx(sums[0][1])
    assert sums[1][1] - sums[0][1] == pytest.approx(expected, rel=1e-3)


def test_dropout_depends_on_its_seed_alone():
    ones = tf.ones((200, 50))
    seed, other = tf.constant([1, 2]), tf.constant([1, 3])
    first = dropout(ones, 0.25, seed, 0)
    assert np.array_equal(first, dropout(ones, 0.25, seed, 0))
    assert not np.array_equal(first, dropout(ones, 0.25, other, 0))
    assert not np.array_equal(first, dropout(ones, 0.25, seed, 1))
    assert abs(float(tf.reduce_mean(tf.cast(first == 0, tf.float32))) - 0.25) < 0.02
    assert abs(float(tf.reduce_mean(first)) - 1) < 0.03
    assert dropout(ones, 0.25, None, 0) is ones


def test_a_block_of_the_transformer_is_the_published_one():
    """Every head and position by itself, in NumPy: pre-norm, scaled dot products of words so far, then of regions, a
    feed-forward of four times the units."""
    block = captioner(encoder_weights=None, image_size=64, **DECODERS["transformer"]).decoder.blocks[0]
    rng = np.random.default_rng(0)
    for weight in block.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    rows = PaddedTokens(tf.constant(captions()[:3, 0]))
    values = rng.normal(size=(*rows.inputs.shape, 16)).astype(np.float32)
    regions = rng.normal(size=(3, 4, 16)).astype(np.float32)

    def normalized(layer, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon)
        return x * layer.gamma.numpy() + layer.beta.numpy()

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def looked(query, keys, values):
        said = np.zeros(16)
        for head in (slice(0, 8), slice(8, 16)):
            scores = np.exp(keys[:, head] @ query[head] / np.sqrt(8))
            said[head] = scores / scores.sum() @ values[:, head]
        return said

    expected = values.copy()
    for row in range(3):
        queries, keys, words = np.split(dense(block.self_inputs, normalized(block.before_self, values[row])), 3, -1)
        region_keys, seen = np.split(dense(block.regions, regions[row]), 2, -1)
        for time in range(len(queries)):
            value = expected[row, time]
            value += dense(block.self_outputs, looked(queries[time], keys[: time + 1], words[: time + 1]))
            query = dense(block.queries, normalized(block.before_seen, value))
            value += dense(block.seen_outputs, looked(query, region_keys, seen))
            wide = dense(block.wide, normalized(block.before_wide, value))
            value += dense(block.narrow, wide * 0.5 * (1 + np.vectorize(math.erf)(wide / np.sqrt(2))))
    found, _ = block.teacher_forced(tf.constant(values), rows, block.see(tf.constant(regions)), None)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
