"""Arithmetic and memory traffic are those of a count by hand."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import WORDS
from tests.support.trainers import batch_of, trainer
from tfcaption.backbones.building import building
from tfcaption.benchmarks.costs import count_flops, count_gru_flops, count_kernel_bytes, count_product_bytes
from tfcaption.benchmarks.hlo import Program
from tfcaption.training.precision import ComputeMode

BFLOAT16 = ComputeMode("mixed_bfloat16", True)


@functools.cache
def compiled(variant):
    """A trainer in mixed precision, which no test changes."""
    with building(BFLOAT16.precision):
        return trainer(variant, BFLOAT16)


def program(function, *arguments, stage="hlo"):
    return Program(tf.function(function, jit_compile=True).experimental_get_compiler_ir(*arguments)(stage=stage))


def test_a_dense_layer_and_its_gradients_are_three_products():
    """(4, 5) times (5, 6): forward, gradient of the inputs, gradient of the weights, each 2 * 4 * 5 * 6."""
    inputs, kernel = tf.ones((4, 5)), tf.ones((5, 6))

    def gradients(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            loss = tf.reduce_sum(tf.tanh(inputs @ kernel) ** 2)
        return tape.gradient(loss, [inputs, kernel])

    found = program(gradients, inputs, kernel)
    assert count_flops(found) == {"f32": 3 * 2 * 4 * 5 * 6}
    assert count_product_bytes(found) == 3 * 4 * (4 * 5 + 5 * 6 + 4 * 6)


def test_a_recurrent_layer_multiplies_in_each_of_its_steps():
    """Seven steps of (2, 3) times (3, 3) in a loop: forward, and backward for the state and for the weights."""

    def gradient(state, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            _, last = tf.while_loop(
                lambda step, _: step < 7,
                lambda step, state: (step + 1, tf.tanh(state @ kernel)),
                (0, state),
                maximum_iterations=9,  # XLA wants a bound for the gradient
            )
            loss = tf.reduce_sum(last)
        return tape.gradient(loss, kernel)

    found = program(gradient, tf.ones((2, 3), tf.bfloat16), tf.ones((3, 3), tf.bfloat16))
    assert count_flops(found) == {"bf16": 3 * 7 * 2 * 2 * 3 * 3}


@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_and_its_gradients_agree_with_a_hand_count_and_with_tensorflows_profiler(strides):
    images, kernel = tf.ones((2, 8, 8, 3)), tf.ones((3, 3, 3, 5))
    by_hand = 2 * (2 * (8 // strides) ** 2 * 5) * (3 * 3 * 3)  # for each value of the result, 3x3x3 products

    def forward(images, kernel):
        return tf.nn.conv2d(images, kernel, strides, "SAME")

    def gradients(images, kernel):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            loss = tf.reduce_sum(forward(images, kernel) ** 2)
        return tape.gradient(loss, [images, kernel])

    assert count_flops(program(forward, images, kernel)) == {"f32": by_hand}
    assert count_flops(program(gradients, images, kernel)) == {"f32": 3 * by_hand}
    graph = tf.function(forward).get_concrete_function(images, kernel).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    assert tf.compat.v1.profiler.profile(graph, options=options.build()).total_float_ops == by_hand


@pytest.mark.parametrize("variant", ["frozen", pytest.param("finetuned", marks=pytest.mark.slow)])
def test_the_compiled_step_multiplies_as_often_as_its_layers_say(variant):
    """Each weight once forward and twice backward, but for the input of the first layer that trains.

    The head's layers also add up their gradients as products: by position for the bias, and by weight for BatchNorm.
    """
    batch = batch_of(variant)
    photos, captions, tokens = batch["tokens"].shape
    positions, features, embedding, units, dense = photos * captions * (tokens - 1), 2048, 6, 16, 12
    start = photos * features * (units + dense)  # state and photo projections
    words = positions * (3 * units * (embedding + units) + units * dense)
    logits = positions * dense * WORDS
    head = photos * 2 * (2 * 2048 * 512 + 9 * 512 * 512) if variant == "finetuned" else 0  # 1x1 regions, two blocks
    not_needed = photos * 2048 * 512 if variant == "finetuned" else 0  # gradient of the features
    sums = photos * 2 * (512 + 512 + 2048) if variant == "finetuned" else 0
    sums_of_weights = head // photos
    found = count_flops(Program(compiled(variant).compiler_ir(batch, "hlo")))
    assert found["f32"] == 2 * (logits + sums_of_weights)  # the rest of the logits' gradient is bfloat16, as all others
    assert sum(found.values()) == 2 * (3 * (start + words + logits + head) - not_needed + sums + sums_of_weights)
    counted = count_gru_flops(
        compiled(variant).captioner, precision=BFLOAT16.precision, photos=photos, tokens=positions
    )
    assert counted["f32"] == 2 * logits
    assert sum(counted.values()) == 2 * (3 * (start + words + logits + head) - not_needed)


def test_an_elementwise_kernel_reads_its_operands_and_writes_its_result():
    found = program(lambda a, b: tf.nn.relu(a + 2 * b), tf.ones((64, 64)), tf.ones((64, 64)), stage="optimized_hlo")
    assert count_kernel_bytes(found) == 3 * 4 * 64 * 64
    assert not count_flops(found)


# As XLA prints what it has compiled for a GPU: products are calls of a library with room to work in, and the rest is
# fused. The loop reads a row of %rows in each step, and writes a row of the result in place.
COMPILED = """HloModule compiled, is_scheduled=true

%fused_step (p0: f16[5,8], p1: s32[], p2: f16[8], p3: f16[5,8]) -> f16[5,8] {
  %p3 = f16[5,8]{1,0} parameter(3)
  %p0 = f16[5,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f16[1,8]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,8}
  %p2 = f16[8]{0} parameter(2)
  %bias = f16[1,8]{1,0} bitcast(%p2)
  %sum = f16[1,8]{1,0} add(%row, %bias)
  ROOT %update = f16[5,8]{1,0} dynamic-update-slice(%p3, %sum, %p1, %zero)
}

%wrapped_compare (p0: s32[]) -> pred[] {
  %p0 = s32[] parameter(0)
  %five = s32[] constant(5)
  ROOT %less = pred[] compare(%p0, %five), direction=LT
}

%body (t: (s32[], f16[5,8], f16[8], f16[5,8])) -> (s32[], f16[5,8], f16[8], f16[5,8]) {
  %t = (s32[], f16[5,8]{1,0}, f16[8]{0}, f16[5,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %rows = f16[5,8]{1,0} get-tuple-element(%t), index=1
  %bias = f16[8]{0} get-tuple-element(%t), index=2
  %out = f16[5,8]{1,0} get-tuple-element(%t), index=3
  %step = f16[5,8]{1,0} fusion(%rows, %i, %bias, %out), kind=kLoop, calls=%fused_step
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %r = (s32[], f16[5,8]{1,0}, f16[8]{0}, f16[5,8]{1,0}) tuple(%next, %rows, %bias, %step)
}

%condition (t: (s32[], f16[5,8], f16[8], f16[5,8])) -> pred[] {
  %t = (s32[], f16[5,8]{1,0}, f16[8]{0}, f16[5,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  ROOT %less = pred[] fusion(%i), kind=kLoop, calls=%wrapped_compare
}

ENTRY %main (a: f16[5,16], b: f16[16,8], bias: f16[8]) -> f16[5,8] {
  %a = f16[5,16]{1,0} parameter(0)
  %b = f16[16,8]{1,0} parameter(1)
  %bias = f16[8]{0} parameter(2)
  %product = (f16[5,8]{1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm"
  %rows = f16[5,8]{1,0} get-tuple-element(%product), index=0
  %zero = s32[] constant(0)
  %t = (s32[], f16[5,8]{1,0}, f16[8]{0}, f16[5,8]{1,0}) tuple(%zero, %rows, %bias, %rows)
  %while = (s32[], f16[5,8]{1,0}, f16[8]{0}, f16[5,8]{1,0}) while(%t), condition=%condition, body=%body
  ROOT %out = f16[5,8]{1,0} get-tuple-element(%while), index=3
}
"""


def test_kernels_of_a_compiled_program_move_what_they_take_not_all_that_they_are_given():
    product = 2 * (5 * 16 + 16 * 8 + 5 * 8)  # without the room to work in
    step = 16 + 4 + 16 + 16  # a row, the index, the bias; the row that is updated
    add, test = 3 * 4, 4 + 1
    assert count_kernel_bytes(Program(COMPILED)) == product + 5 * (step + add) + 6 * test


def test_bytes_of_a_step_are_at_least_those_of_its_arguments_and_gradients():
    subject, batch = compiled("frozen"), batch_of("frozen")
    moved = count_kernel_bytes(Program(subject.compiler_ir(batch, "optimized_hlo")))
    arguments = sum(np.prod(variable.shape) * 4 for variable in subject.variables) + 2 * np.prod(batch["inputs"].shape)
    assert moved > 2 * arguments
