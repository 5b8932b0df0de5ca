"""Pictures of photos above their captions."""

import numpy as np
import pytest

from tests.support.photos import encoded, picture
from tfcaption.preprocessing.captioned_picture import FONT_SIZE, PICTURE_WIDTH
from tfcaption.serving.pictures import captioned_picture


@pytest.mark.parametrize(
    "caption", ["a man in a young young man " * 8, "w" * 200, "i" * 500, "WWWWWWWWWWWWWWWWWW " * 5]
)
def test_no_caption_runs_out_of_the_picture(tmp_path, caption):
    (tmp_path / "a.png").write_bytes(encoded(picture(64, 32)))
    drawn = np.asarray(captioned_picture(str(tmp_path / "a.png"), caption))
    assert drawn.shape[1] == PICTURE_WIDTH
    text = drawn[PICTURE_WIDTH // 2 :]  # below the photo
    assert (text < 128).any()
    margin = FONT_SIZE // 2  # letters such as j and y reach a pixel beyond their box
    assert (text[:, PICTURE_WIDTH - margin :] == 255).all() and (text[:, :margin] == 255).all()
    assert (text[-2:] == 255).all()  # nor below it
