"""Where a backbone can be split, and splitting it into a trunk and a head."""

import bisect
import difflib
import itertools
import re
from typing import Any

import keras

from tfcaption.backbones.errors import EncoderError

_SHARE_BEYOND = 0.3  # of the weights, at least, beyond the default cut; 0.38 in ResNet50


def cuts(model: keras.Model) -> list[str]:
    """Layers at which a model is best split, in order: where it is a single tensor; one for each block.

    `split` takes any layer whose output is the model's only path. Most of them lie inside a block, such as between a
    convolution and its BatchNorm. Therefore only the last layer of each block is listed: the last of those in a row
    whose names are equal up to their last number, or up to their first underline if they have none. Layers before the
    first weights are not listed.
    """
    with_weights, listed = False, []
    paths = only_paths(model)
    for node in nodes_in_order(model):
        with_weights = with_weights or has_encoder_weights(node.operation)
        if with_weights and node.operation.name in paths:
            listed.append(node.operation.name)
    return [list(block)[-1] for _, block in itertools.groupby(listed, _block)]


def _block(name: str) -> str:
    """`conv5_block1_out` -> `conv5_block1`, `block2a_project_bn` -> `block2a`, `stem_conv` -> `stem`."""
    numbered = re.match(r".*\d[^_]*", name)
    return numbered[0] if numbered else name.partition("_")[0]


def has_encoder_weights(operation: keras.Operation) -> bool:
    """Whether a layer has weights other than the pixel statistics of a normalization."""
    return not isinstance(operation, keras.layers.Normalization) and bool(getattr(operation, "weights", ()))


def only_paths(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Layers and other operations through whose output all paths of a model lead, in order, with that output."""
    nodes = nodes_in_order(model)
    readers = {id(tensor): 0 for node in nodes for tensor in node.output_tensors}  # that have not read it yet
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)] += 1
    calls: dict[int, int] = {}  # of a layer that is used more than once
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
    found, unread = {}, 0  # outputs that a later layer reads
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            unread -= readers[id(tensor)] == 0
        unread += sum(readers[id(tensor)] > 0 for tensor in node.output_tensors)
        is_only = (unread == 1 and readers[id(node.output_tensors[0])]) or node.output_tensors[0] is model.outputs[0]
        if is_only and node.parent_nodes and calls[id(node.operation)] == len(node.output_tensors) == 1:
            found[node.operation.name] = node.output_tensors[0]
    return found


def nodes_in_order(model: keras.Model) -> list[Any]:
    """The calls of a model's layers, each after those whose outputs it reads; Keras has no public name for them."""
    return [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]


def split(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Split a model at a layer into a trunk and a head that share its weights.

    Args:
        model: with one input and one output.
        layer: one of `cuts`, or any other layer whose output is the model's only path.

    Returns:
        Trunk and head; `head(trunk(x))` equals `model(x)` to the bit.

    Raises:
        EncoderError: no such layer, or its output is not the model's only path.
    """
    paths = only_paths(model)
    if layer not in paths:
        raise EncoderError(_no_cut(model, layer), "finetune_from")
    cut, map_of_regions = paths[layer], model.outputs[0]
    trunk = keras.Model(model.inputs[0], cut, name="trunk")
    if cut is map_of_regions:  # Keras builds no model without a layer
        cut = keras.Input(cut.shape[1:], dtype=cut.dtype)
        map_of_regions = keras.layers.Identity()(cut)
    return trunk, keras.Model(cut, map_of_regions, name="head")


def _no_cut(model: keras.Model, layer: str) -> str:
    """Why a model cannot be split at a layer."""
    order, possible = [node.operation.name for node in nodes_in_order(model)], cuts(model)
    if layer not in order:
        close = difflib.get_close_matches(layer, possible, n=1) or difflib.get_close_matches(layer, order, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{layer}: no such layer; {hint}`tfcaption encoders ENCODER --layers` lists all"
    index = bisect.bisect([order.index(name) for name in possible], order.index(layer))
    nearest = " or ".join([*possible[max(index - 1, 0) : index], *possible[index : index + 1]])
    return f"{layer}: lies beside other paths, so the encoder cannot be split there; the nearest that can: {nearest}"


def default_cut(model: keras.Model) -> str:
    """The last of `cuts` beyond which 0.3 or more of a model's weights lie; the first where none has as many."""
    below = {}  # weights up to each layer
    count = 0
    for node in nodes_in_order(model):
        count += getattr(node.operation, "count_params", lambda: 0)()
        below[node.operation.name] = count
    possible = cuts(model)
    return next((name for name in reversed(possible) if count - below[name] >= _SHARE_BEYOND * count), possible[0])
