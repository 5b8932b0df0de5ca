"""The model that this room's tests search."""

import numpy as np
import pytest

from tests.support.models import WORDS, captioner
from tfcaption.records.vocabulary import END


@pytest.fixture(scope="module")
def model():
    """A model whose captions end, with spread logits, so that no two captions have close scores."""
    model = captioner(seed=5, encoder_weights=None)
    model.decoder.logits.kernel.assign(3 * model.decoder.logits.kernel)
    model.decoder.logits.bias.assign(np.where(np.arange(WORDS) == END, 6, 0).astype(np.float32))
    return model
