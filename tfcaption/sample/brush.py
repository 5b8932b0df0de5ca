"""A brush for flat shapes; it draws at twice the size of a photo, which reduced has smooth edges."""

from collections.abc import Sequence
from typing import cast

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 240  # pixels of a photo
SMOOTHING = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]

DARK, WHITE = (44, 40, 48), (250, 250, 246)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """The colour as it is in shade."""
    return mixed(colour, DARK, share)


class Brush:
    """Draws around a point of an image, at `size` times the given pixels of a photo, to the left if `mirrored`."""

    def __init__(
        self, image: Image.Image, x: float = 0, y: float = 0, size: float = 1, *, mirrored: bool = False
    ) -> None:
        self._image, self._canvas = image, ImageDraw.Draw(image)
        self._x, self._y, self._size, self._side = x, y, size * SMOOTHING, -1 if mirrored else 1

    def _at(self, point: Point) -> Point:
        x, y = point
        return SMOOTHING * self._x + self._side * self._size * x, SMOOTHING * self._y + self._size * y

    def beside(self, x: float, y: float, size: float) -> "Brush":
        """A brush around another point, which draws at another size."""
        x, y = self._at((x, y))
        size *= self._size / SMOOTHING
        return Brush(self._image, x / SMOOTHING, y / SMOOTHING, size, mirrored=self._side < 0)

    def ellipse(self, x: float, y: float, wide: float, high: float, fill: Colour) -> None:
        """An ellipse by its centre and half axes."""
        x, y = self._at((x, y))
        wide, high = wide * self._size, high * self._size
        self._canvas.ellipse((x - wide, y - high, x + wide, y + high), fill=fill)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._canvas.polygon([self._at(point) for point in points], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """A rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round ends and joints."""
        width *= self._size
        placed = [self._at(point) for point in points]
        self._canvas.line(placed, fill=fill, width=max(1, round(width)))
        for x, y in placed:
            self._canvas.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)

    def shadow(self, wide: float) -> None:
        """A flat ellipse around the point, darker than the ground there."""
        x, y = map(round, self._at((0, 1)))
        around = self._image.crop((x - 40, y - 8, x + 40, y + 8)).resize((1, 1), Image.Resampling.BOX)
        ground = cast(Colour, around.getpixel((0, 0)))
        self.ellipse(0, 1, wide, 5, mixed(ground, DARK, 0.3))

    def gradient(self, top: int, bottom: int, above: Colour, below: Colour) -> None:
        """Rows of the photo from `top` to `bottom`, from one colour to another."""
        first, rows = top * SMOOTHING, (bottom - top) * SMOOTHING
        for row in range(rows):
            fill = mixed(above, below, row / rows)
            self._canvas.line((0, first + row, WIDTH * SMOOTHING, first + row), fill=fill)
