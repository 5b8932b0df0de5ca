"""Where a backbone can be split, and splitting it into a trunk and a head."""

import keras


def cuts(model: keras.Model) -> list[str]:
    """Layers whose output is the model's only path, in order: those at which it can be split."""
    raise NotImplementedError


def split(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """A model as trunk and head, `head(trunk(x)) == model(x)`; both share its weights.

    Raises:
        EncoderError: no such layer, or its output is not the model's only path.
    """
    output = model.get_layer(layer).output
    return keras.Model(model.input, output, name="trunk"), keras.Model(output, model.output, name="head")
