"""Draws the places of the scenes."""

import random
from collections.abc import Callable

from tfcaption.sample.brush import HEIGHT, WHITE, WIDTH, Brush, Colour, mixed


def _cloud(brush: Brush, x: float, y: float, size: float, fill: Colour) -> None:
    for dx, dy, radius in ((-22, 4, 12), (-6, -4, 16), (14, 0, 14), (28, 6, 9)):
        brush.ellipse(x + dx * size, y + dy * size, radius * size, radius * size * 0.8, fill)


def _tree(brush: Brush, x: float, foot: float, size: float, crown: Colour) -> None:
    brush.box(x - 4 * size, foot - 26 * size, x + 4 * size, foot, (112, 78, 54))
    for dx, dy, radius in ((-13, -38, 16), (13, -38, 16), (0, -54, 19), (0, -38, 16)):
        brush.ellipse(x + dx * size, foot + dy * size, radius * size, radius * size, crown)
    brush.ellipse(x + 6 * size, foot - 58 * size, 9 * size, 8 * size, mixed(crown, WHITE, 0.18))


def _fir(brush: Brush, x: float, foot: float, size: float, fill: Colour, snow: Colour | None = None) -> None:
    brush.box(x - 3 * size, foot - 8 * size, x + 3 * size, foot, (96, 70, 56))
    for step, half in enumerate((24, 19, 14)):
        low, high = foot - (6 + 19 * step) * size, foot - (40 + 18 * step) * size
        brush.polygon([(x - half * size, low), (x + half * size, low), (x, high)], fill)
        if snow:
            top = half * 0.42 * size
            brush.polygon(
                [(x - top, high + (low - high) * 0.42), (x + top, high + (low - high) * 0.42), (x, high)], snow
            )


def _hills(brush: Brush, generator: random.Random, base: float, fill: Colour) -> None:
    for x in range(-20, 380, 90):
        brush.ellipse(x + generator.randint(-10, 10), base, 90, generator.randint(24, 36), fill)


def _sky(
    brush: Brush, generator: random.Random, above: Colour, below: Colour, bottom: int, *, sun: bool = True
) -> None:
    brush.gradient(0, bottom, above, below)
    if sun:
        x, y = generator.randint(38, 50), generator.randint(32, 44)
        brush.ellipse(x, y, 25, 25, mixed(below, (255, 244, 190), 0.6))
        brush.ellipse(x, y, 18, 18, (255, 226, 92))
    for _ in range(generator.randint(1, 2)):
        x, y, size = generator.randint(104, 216), generator.randint(20, 70), generator.uniform(0.6, 1.0)
        _cloud(brush, x, y, size, mixed(below, WHITE, 0.8))


def _meadow(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (92, 176, 240), (204, 234, 250), 140)
    _hills(brush, generator, 140, (132, 196, 116))
    brush.gradient(136, HEIGHT, (140, 206, 92), (76, 160, 58))
    for x, size in ((18, 1.0), (62, 0.8), (304, 1.1)):
        _tree(brush, x + generator.randint(-6, 6), 152, size, (60, 142, 62))
    for _ in range(26):
        x, y = generator.randint(0, WIDTH), generator.randint(156, HEIGHT)
        brush.line([(x - 2, y - 5), (x, y), (x + 2, y - 5)], 1, (62, 138, 48))
    for _ in range(12):
        x, y = generator.randint(0, WIDTH), generator.randint(150, HEIGHT)
        brush.ellipse(x, y, 2.6, 2.6, generator.choice(((255, 255, 255), (255, 226, 92), (242, 150, 190))))


def _waves(brush: Brush, generator: random.Random, top: int, bottom: int, fill: Colour) -> None:
    for _ in range((bottom - top) // 5):
        x, y = generator.randint(0, WIDTH), generator.randint(top, bottom)
        half = 6 + 14 * (y - top) / (bottom - top)
        brush.line([(x - half, y), (x, y - 2), (x + half, y)], 1.4, fill)


def _beach(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (112, 196, 244), (222, 242, 250), 112)
    brush.gradient(112, 154, (24, 126, 178), (86, 196, 204))
    _waves(brush, generator, 118, 150, (198, 236, 238))
    brush.gradient(150, HEIGHT, (246, 226, 172), (228, 190, 122))
    for x in range(-10, 350, 28):
        brush.ellipse(x + generator.randint(-6, 6), 151, 22, 5, (240, 250, 248))
    x = generator.randint(282, 296)
    brush.line([(x, 190), (x, 136)], 3, (250, 246, 236))
    brush.polygon([(x - 34, 148), (x - 18, 130), (x, 124), (x + 18, 130), (x + 34, 148)], (240, 112, 84))
    brush.polygon([(x - 12, 148), (x, 124), (x + 12, 148)], WHITE)
    for _ in range(20):
        x, y = generator.randint(0, WIDTH), generator.randint(162, HEIGHT)
        brush.ellipse(x, y, 1.6, 1, (206, 166, 104))


def _snow(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (164, 186, 214), (224, 232, 242), 136, sun=False)
    _hills(brush, generator, 142, (208, 220, 236))
    brush.gradient(138, HEIGHT, (248, 250, 254), (214, 226, 242))
    for x in (14, 52, 270, 306):
        size = generator.uniform(0.9, 1.2)
        _fir(brush, x + generator.randint(-5, 5), 158, size, (52, 100, 92), (244, 248, 252))
    for _ in range(60):
        x, y, radius = generator.randint(0, WIDTH), generator.randint(0, HEIGHT), generator.uniform(1, 2.2)
        brush.ellipse(x, y, radius, radius, WHITE)


def _house(brush: Brush, left: float, width: float, top: float, wall: Colour) -> None:
    foot = 158
    brush.box(left, top, left + width, foot, wall)
    brush.polygon([(left - 4, top), (left + width / 2, top - 26), (left + width + 4, top)], (142, 78, 66))
    for x in (left + width * 0.26, left + width * 0.74):
        for y in (top + 18, top + 48):
            brush.box(x - 8, y - 9, x + 8, y + 9, WHITE)
            brush.box(x - 6, y - 7, x + 6, y + 7, (122, 158, 184))
    brush.box(left + width / 2 - 8, foot - 28, left + width / 2 + 8, foot, (112, 74, 62))


def _street(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (158, 194, 220), (232, 234, 228), 160, sun=False)
    walls = ((222, 146, 118), (238, 208, 156), (178, 196, 206), (214, 178, 190), (196, 206, 170))
    left = generator.randint(-12, -4)
    for number, wall in enumerate(walls):
        _house(brush, left + 68 * number, 66, (70, 52, 64, 48, 60)[number] + generator.randint(-4, 4), wall)
    brush.gradient(158, 176, (206, 200, 190), (190, 184, 176))
    brush.gradient(176, HEIGHT, (120, 120, 128), (92, 92, 100))
    for x in range(generator.randint(-20, -10), WIDTH, 64):
        brush.box(x, 226, x + 34, 230, (238, 236, 226))


def _autumn(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (206, 214, 214), (246, 232, 200), 140, sun=False)
    crowns = ((214, 98, 34), (232, 152, 44), (186, 68, 38))
    brush.gradient(138, HEIGHT, (214, 150, 72), (164, 98, 48))
    for x in (10, 48, 92, 160, 230, 274, 312):
        _tree(brush, x + generator.randint(-6, 6), 152, generator.uniform(1.1, 1.3), crowns[x % 3])
    for _ in range(70):
        x, y = generator.randint(0, WIDTH), generator.randint(150, HEIGHT)
        brush.ellipse(x, y, 3.2, 1.8, generator.choice((*crowns, (242, 190, 80))))


def _night(brush: Brush, generator: random.Random) -> None:
    brush.gradient(0, 144, (12, 16, 56), (54, 58, 118))
    for _ in range(34):
        x, y, radius = generator.randint(0, WIDTH), generator.randint(4, 120), generator.uniform(0.7, 1.6)
        brush.ellipse(x, y, radius, radius, (244, 240, 206))
    x, y = generator.randint(262, 278), generator.randint(36, 50)
    brush.ellipse(x, y, 27, 27, (50, 54, 104))
    brush.ellipse(x, y, 20, 20, (250, 244, 206))
    for dx, dy, radius in ((-6, -4, 4), (7, 3, 3), (-2, 8, 2.5)):
        brush.ellipse(x + dx, y + dy, radius, radius, (228, 220, 178))
    _hills(brush, generator, 146, (34, 44, 84))
    brush.gradient(142, HEIGHT, (40, 66, 78), (20, 38, 48))
    for x in (20, 70, 248, 300):
        _fir(brush, x + generator.randint(-6, 6), 158, generator.uniform(0.9, 1.1), (20, 36, 56))


def _sea(brush: Brush, generator: random.Random) -> None:
    _sky(brush, generator, (92, 176, 240), (214, 238, 250), 122)
    brush.gradient(122, HEIGHT, (46, 146, 204), (12, 74, 140))
    _waves(brush, generator, 132, 236, (150, 208, 234))


def _sunset(brush: Brush, generator: random.Random) -> None:
    brush.gradient(0, 60, (96, 62, 126), (226, 100, 96))
    brush.gradient(60, 126, (226, 100, 96), (254, 196, 96))
    x = generator.randint(226, 256)
    brush.ellipse(x, 118, 40, 40, (255, 210, 120))
    brush.ellipse(x, 118, 30, 30, (255, 238, 170))
    for _ in range(2):
        _cloud(brush, generator.randint(20, 300), generator.randint(24, 60), 0.9, (214, 112, 122))
    brush.gradient(126, HEIGHT, (196, 104, 96), (62, 42, 92))
    for y in range(132, 236, 9):
        half = generator.randint(8, 30)
        brush.line([(x - half, y), (x + half, y)], 2.4, (255, 206, 130))
    _waves(brush, generator, 136, 236, (226, 146, 124))


def draw_road(brush: Brush, *, night: bool) -> None:
    """A road through a place that is no street."""
    brush.box(0, 186, WIDTH, 230, (84, 80, 84) if night else (132, 128, 128))
    for x in range(10, WIDTH, 64):
        brush.box(x, 206, x + 34, 209, (238, 236, 226))


DRAW_PLACE: dict[str, Callable[[Brush, random.Random], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "snow": _snow,
    "street": _street,
    "autumn": _autumn,
    "night": _night,
    "sea": _sea,
    "sunset": _sunset,
}
