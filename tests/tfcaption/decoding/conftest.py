"""The model that the tests of this room search."""

import numpy as np
import pytest

from tests.support.models import WORDS, captioner
from tfcaption.records.vocabulary import END


@pytest.fixture(scope="module")
def model():
    """Its logits are spread, so that no two captions are close, and its captions end."""
    found = captioner(seed=5, encoder_weights=None)
    found.decoder.logits.kernel.assign(3 * found.decoder.logits.kernel)
    found.decoder.logits.bias.assign(np.where(np.arange(WORDS) == END, 6, 0).astype(np.float32))
    return found
