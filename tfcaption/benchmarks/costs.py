"""The arithmetic and the memory traffic of a program in XLA's text format (HLO).

TensorFlow gives the text of a compiled function, but not XLA's own cost analysis. The program as TensorFlow made it
says what is multiplied; the program as XLA has compiled it for a device says what each of its kernels reads and writes.
Of a step without XLA the arithmetic follows from the sizes of its layers.
"""

import math
import re
from collections import Counter
from collections.abc import Callable

import keras

from tfcaption.benchmarks.hlo import Computation, Instruction, Program
from tfcaption.models.captioner import Captioner

_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128}  # all others say theirs: bf16, f8e4m3fn
_SHORT = {"float32": "f32", "mixed_bfloat16": "bf16", "mixed_float16": "f16"}  # policy -> what it multiplies in
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")
# They move nothing: names for what is there already, or the end of what another instruction began.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "add-dependency", "domain"),
    *("optimization-barrier", "opt-barrier", "partition-id", "replica-id"),
}


def count_flops(program: Program) -> Counter[str]:
    """Floating-point operations of matrix products and convolutions, by the dtype of what is multiplied.

    A multiplication and an addition are two. Positions of a convolution in its padding count, as is usual.
    """
    total: Counter[str] = Counter()

    def add(computation: Computation, instruction: Instruction, times: int) -> None:
        if instruction.opcode in _FLOPS:
            total[_dtype(computation, instruction)] += times * _FLOPS[instruction.opcode](computation, instruction)

    program.walk(add, into_fusions=True)
    return total


def count_gru_flops(captioner: Captioner, *, precision: str, photos: float, tokens: float) -> Counter[str]:
    """Floating-point operations of products and convolutions to train a GRU decoder, padding left out, by dtype.

    Those of the forward pass, and of the gradients of all weights and inputs but the stored features.

    Args:
        captioner: its decoder is the GRU. If it is fine-tuned, the head of its encoder counts, too.
        precision: a Keras dtype policy.
        photos: number of photos.
        tokens: number of targets of all their captions.
    """
    decoder, head = captioner.decoder, captioner.encoder.head if captioner.encoder.finetuned else None
    units, dense, words = decoder.gru.units, decoder.dense.units, decoder.logits.units
    gru = 3 * units * (decoder.embedding_units + units)
    logits = dense * words  # float32 in the forward pass
    by_token, by_photo = 3 * (gru + units * dense) + 2 * logits, 3 * decoder.channels * (units + dense)
    layers = [layer for layer in head.layers if isinstance(layer, keras.layers.Conv2D)] if head else []
    for index, layer in enumerate(layers):
        positions = math.prod(layer.output.shape[1:3])
        by_photo += (3 if index else 2) * positions * math.prod(layer.kernel.shape)
    counted = Counter({_SHORT[precision]: round(2 * (tokens * by_token + photos * by_photo))})
    return counted + Counter({"f32": round(2 * tokens * logits)})


def count_product_bytes(program: Program) -> int:
    """Bytes that matrix products and convolutions read and write, as if all else were fused into them."""
    total = 0

    def add(computation: Computation, instruction: Instruction, times: int) -> None:
        nonlocal total
        if instruction.opcode in _FLOPS:
            total += times * _operand_and_result_bytes(computation, instruction)

    program.walk(add, into_fusions=True)
    return total


def count_kernel_bytes(program: Program) -> int:
    """Bytes that the kernels of a compiled program read and write; caches may keep a part of them from the memory."""
    total = 0

    def add(computation: Computation, instruction: Instruction, times: int) -> None:
        nonlocal total
        total += times * _kernel_bytes(program, computation, instruction)

    program.walk(add, into_fusions=False)
    return total


def _dimensions(shape: str) -> list[int]:
    """Those of an array."""
    found = _ARRAY.match(shape)
    assert found is not None, shape
    return [int(size.lstrip("<=")) for size in found[2].split(",") if size]


def _bytes(shape: str) -> int:
    """Of an array, or of all arrays of a tuple."""
    return sum(_array_bytes(dtype, sizes) for dtype, sizes in _ARRAY.findall(shape))


def _array_bytes(dtype: str, sizes: str) -> int:
    digits = re.search(r"\d+", dtype)
    bits = _BITS.get(dtype, int(digits[0]) if digits else 8)
    return -(-bits * math.prod(int(size.lstrip("<=")) for size in sizes.split(",") if size) // 8)


def _dtype(computation: Computation, instruction: Instruction) -> str:
    found = _ARRAY.match(computation.instructions[instruction.operands[0]].shape)
    assert found is not None
    return found[1]


def _dot_flops(computation: Computation, dot: Instruction) -> int:
    left = _dimensions(computation.instructions[dot.operands[0]].shape)
    contracted = [left[int(axis)] for axis in dot.attribute("lhs_contracting_dims").split(",") if axis]
    return 2 * math.prod(_dimensions(dot.shape)) * math.prod(contracted)


def _convolution_flops(computation: Computation, convolution: Instruction) -> int:
    labels = convolution.attribute("dim_labels").partition("_")[2].partition("-")[0]  # of the kernel: 01io
    kernel = _dimensions(computation.instructions[convolution.operands[1]].shape)
    summed = math.prod(size for label, size in zip(labels, kernel, strict=True) if label != "o")
    # The gradient of a strided convolution spreads its input with zeros, which no kernel multiplies.
    spread = re.search(r"lhs_dilate=([\dx]+)", convolution.attribute("window"))
    zeros = math.prod(map(int, spread[1].split("x"))) if spread else 1
    return 2 * math.prod(_dimensions(convolution.shape)) * summed // zeros


_FLOPS: dict[str, Callable[[Computation, Instruction], int]] = {"dot": _dot_flops, "convolution": _convolution_flops}


def _operand_and_result_bytes(computation: Computation, instruction: Instruction) -> int:
    read = sum(_bytes(computation.instructions[name].shape) for name in instruction.operands)
    return read + _bytes(instruction.shape)


def _kernel_bytes(program: Program, computation: Computation, instruction: Instruction) -> int:
    """What one instruction of a compiled program reads and writes."""
    opcode, operands = instruction.opcode, instruction.operands
    shapes = [computation.instructions[name].shape for name in operands]
    if opcode in _FREE or opcode.endswith("-done"):
        return 0
    if opcode in ("dynamic-slice", "slice"):
        return 2 * _bytes(instruction.shape)
    if opcode == "gather":
        return 2 * _bytes(instruction.shape) + _bytes(shapes[1])
    if opcode == "dynamic-update-slice":  # in place
        return 2 * _bytes(shapes[1])
    if opcode == "scatter":  # in place, for one array
        return _bytes(shapes[1]) + 3 * _bytes(shapes[2])
    if opcode == "fusion":
        fused = program.computations[instruction.called]
        read = sum(_read(fused, fused.parameter(number), shape) for number, shape in enumerate(shapes))
        return read + _written(fused, fused.root)
    if opcode == "custom-call" and instruction.shape.startswith("("):
        results = _ARRAY.findall(instruction.shape)  # of a library's product, the last one is room to work in
        workspace = sum(_array_bytes(dtype, sizes) for dtype, sizes in results if dtype in ("s8", "u8"))
        return _operand_and_result_bytes(computation, instruction) - workspace
    return _operand_and_result_bytes(computation, instruction)


def _read(fused: Computation, name: str, shape: str) -> int:
    """Bytes of an operand that a fusion reads: all, or the parts that it takes."""
    total = 0
    for user in fused.instructions.values():
        if name not in user.operands:
            continue
        first = user.operands[0] == name and user.operands.count(name) == 1
        if user.opcode == "bitcast":
            total += _read(fused, user.name, shape)
        elif first and user.opcode in ("dynamic-slice", "slice", "gather"):
            total += _bytes(user.shape)
        elif not (first and user.opcode == "dynamic-update-slice"):
            return _bytes(shape)
    return min(total, _bytes(shape))


def _written(fused: Computation, name: str) -> int:
    """Bytes of a result that a fusion writes: all, or the part that it updates."""
    instruction = fused.instructions[name]
    if instruction.opcode == "tuple":
        return sum(_written(fused, operand) for operand in instruction.operands)
    if instruction.opcode == "bitcast":
        return _written(fused, instruction.operands[0])
    if instruction.opcode == "dynamic-update-slice":
        return _bytes(fused.instructions[instruction.operands[1]].shape)
    return _bytes(instruction.shape)
