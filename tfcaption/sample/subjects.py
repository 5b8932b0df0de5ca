"""Draws the subjects of the scenes.

A brush stands between the feet of a subject, and in the middle of what flies or sails; they all look to the right.
"""

import math
from collections.abc import Callable

from tfcaption.sample.brush import DARK, WHITE, Brush, Colour, Point, darker, mixed

SKIN = (236, 188, 150)
COLOURS: dict[str, Colour] = {
    "brown": (146, 86, 40),
    "black": (40, 36, 40),
    "white": (246, 242, 234),
    "orange": (240, 138, 36),
    "grey": (128, 134, 146),
    "red": (218, 40, 44),
    "yellow": (250, 206, 40),
    "blue": (38, 92, 214),
    "green": (28, 140, 74),
    "purple": (134, 62, 178),
}


def _dog_head(brush: Brush, x: float, y: float, fur: Colour) -> None:
    brush.ellipse(x + 15, y + 6, 13, 8, mixed(fur, WHITE, 0.15))
    brush.ellipse(x, y, 18, 16, fur)
    brush.ellipse(x + 26, y + 3, 4, 3.4, DARK if fur[0] > 60 else (86, 80, 84))
    brush.ellipse(x - 10, y + 5, 7, 15, darker(fur, 0.35) if fur[0] > 60 else (72, 66, 72))
    brush.ellipse(x + 5, y - 4, 3.4, 3.4, WHITE)
    brush.ellipse(x + 6, y - 4, 2.2, 2.2, DARK)


def _dog(brush: Brush, fur: Colour, action: str) -> None:
    far, collar = darker(fur), (226, 62, 62)
    brush.shadow(46)
    if action == "sit":
        brush.line([(-26, -6), (-44, -12), (-52, -26)], 8, fur)
        brush.ellipse(-10, -20, 26, 22, far)
        brush.line([(20, -44), (22, -3), (28, -3)], 10, far)
        brush.polygon([(-26, -30), (0, -80), (26, -78), (26, -30), (10, -4), (-18, -4)], fur)
        brush.ellipse(-12, -18, 22, 20, fur)
        brush.line([(14, -44), (14, -3), (22, -3)], 10, fur)
        brush.line([(4, -72), (26, -70)], 6, collar)
        _dog_head(brush, 16, -88, fur)
        return
    brush.line([(-28, -34), (-50, -22), (-58, -4)], 9, far)
    brush.line([(26, -34), (50, -22), (62, -6)], 9, far)
    brush.line([(-36, -50), (-54, -64), (-58, -78)], 8, fur)
    brush.ellipse(0, -44, 42, 20, fur)
    brush.ellipse(24, -46, 22, 22, fur)
    brush.line([(-28, -36), (-34, -18), (-46, -2)], 10, fur)
    brush.line([(28, -36), (36, -16), (48, -2)], 10, fur)
    brush.polygon([(22, -56), (40, -84), (56, -70), (42, -40)], fur)
    brush.line([(30, -66), (48, -54)], 6, collar)
    _dog_head(brush, 50, -76, fur)
    if action == "ball":
        _ball(brush, 92, -22)
    elif action == "cat":
        _cat(brush.beside(118, 0, 0.7), COLOURS["orange"], "walk")


def _ball(brush: Brush, x: float, y: float) -> None:
    brush.ellipse(x, y, 15, 15, (236, 66, 56))
    brush.ellipse(x - 4, y - 5, 5, 5, (255, 176, 160))


def _cat_head(brush: Brush, x: float, y: float, fur: Colour) -> None:
    for side in (-1, 1):
        brush.polygon([(x + side * 18, y - 24), (x + side * 19, y - 2), (x + side * 3, y - 12)], fur)
        brush.polygon([(x + side * 16, y - 19), (x + side * 16, y - 6), (x + side * 7, y - 12)], (240, 176, 170))
    brush.ellipse(x, y, 20, 17, fur)
    brush.ellipse(x, y + 7, 9, 7, WHITE)
    for side in (-1, 1):
        brush.ellipse(x + side * 8, y - 2, 4.4, 4.8, (214, 232, 120))
        brush.ellipse(x + side * 8, y - 2, 1.6, 4.2, DARK)
        brush.line([(x + side * 8, y + 6), (x + side * 24, y + 3)], 0.8, WHITE)
        brush.line([(x + side * 8, y + 8), (x + side * 24, y + 9)], 0.8, WHITE)
    brush.polygon([(x - 3, y + 3), (x + 3, y + 3), (x, y + 6)], (226, 110, 110))


def _cat(brush: Brush, fur: Colour, action: str) -> None:
    far = darker(fur)
    brush.shadow(36)
    if action == "sit":
        brush.line([(20, -8), (44, -10), (48, -34), (38, -44)], 8, far)
        brush.ellipse(0, -26, 28, 28, fur)
        brush.ellipse(0, -24, 14, 20, WHITE)
        brush.line([(-10, -30), (-10, -3)], 9, fur)
        brush.line([(10, -30), (10, -3)], 9, fur)
        for side in (-1, 1):
            brush.line([(side * 26, -34), (side * 18, -32)], 3, far)
            brush.line([(side * 28, -24), (side * 19, -23)], 3, far)
        _cat_head(brush, 0, -64, fur)
        return
    brush.line([(-36, -42), (-54, -58), (-50, -84)], 8, fur)
    for x in (-20, 34):
        brush.line([(x - 4, -30), (x + 2, -3)], 8, far)
    brush.ellipse(0, -38, 42, 18, fur)
    for x in (-32, 22):
        brush.line([(x, -30), (x - 4, -3)], 9, fur)
    for x in (-22, -8, 6):
        brush.line([(x, -55), (x + 2, -46)], 4, far)
    _cat_head(brush, 44, -60, fur)


def _child(brush: Brush, clothes: Colour, action: str, *, girl: bool) -> None:
    brush.shadow(24)
    legs = SKIN if girl else (70, 76, 98)
    spread = 22 if action == "run" else 9
    for side in (-1, 1):
        foot = (side * spread, -12 if (action == "run" and side < 0) else -3)
        brush.line([(side * 6, -44), (side * spread * 0.8, -24), foot], 9, legs)
        brush.line([foot, (foot[0] + 8, foot[1])], 7, (120, 60, 50))
    brush.line([(-10, -80), (-26, -64), (-34 if action == "run" else -26, -54)], 8, SKIN)
    if girl:
        brush.polygon([(-12, -90), (12, -90), (28, -36), (-28, -36)], clothes)
        brush.line([(-12, -66), (13, -66)], 3, darker(clothes))
    else:
        brush.polygon([(-15, -90), (15, -90), (17, -48), (-17, -48)], clothes)
        brush.box(-17, -52, 17, -38, legs)
    brush.ellipse(-13, -86, 7, 7, clothes)
    brush.ellipse(13, -86, 7, 7, clothes)
    hand = {"kite": (32, -104), "snowman": (36, -78), "dog": (34, -58)}.get(action, (32, -70))
    brush.line([(13, -84), (24, -74), hand], 8, SKIN)
    hair = (92, 54, 34) if girl else (62, 44, 40)
    if girl:
        brush.ellipse(-5, -104, 22, 24, hair)
        brush.ellipse(-18, -88, 8, 16, hair)
    brush.ellipse(0, -108, 18, 19, SKIN)
    brush.polygon([(-19, -106), (-17, -122), (-4, -131), (12, -127), (19, -114), (4, -119), (-10, -114)], hair)
    brush.ellipse(5, -108, 2, 2.6, DARK)
    brush.ellipse(13, -108, 2, 2.6, DARK)
    brush.line([(5, -99), (9, -97), (13, -99)], 1.6, (176, 84, 76))
    if action == "kite":
        _kite(brush, hand)
    elif action == "ball":
        _ball(brush, 50, -16)
    elif action == "snowman":
        _snowman(brush, 74)
    elif action == "dog":
        brush.line([hand, (70, -46)], 1.6, DARK)
        _dog(brush.beside(96, 0, 0.7), COLOURS["brown"], "walk")


def _kite(brush: Brush, hand: Point) -> None:
    brush.line([hand, (78, -112)], 1.2, WHITE)
    brush.line([(78, -112), (66, -98), (74, -86), (64, -74)], 2, (250, 220, 90))
    brush.polygon([(84, -152), (62, -132), (78, -112)], (240, 84, 60))
    brush.polygon([(84, -152), (106, -128), (78, -112)], (250, 190, 60))


def _snowman(brush: Brush, x: float) -> None:
    outline = (176, 194, 220)
    for y, radius in ((-24, 27), (-64, 20), (-96, 15)):
        brush.ellipse(x, y, radius + 1.5, radius + 1.5, outline)
        brush.ellipse(x, y, radius, radius, WHITE)
    brush.box(x - 13, -124, x + 13, -107, DARK)
    brush.box(x - 20, -110, x + 20, -106, DARK)
    brush.line([(x - 14, -82), (x + 14, -82)], 6, (214, 60, 60))
    brush.ellipse(x - 6, -99, 2, 2, DARK)
    brush.ellipse(x + 5, -99, 2, 2, DARK)
    brush.polygon([(x - 2, -96), (x - 2, -91), (x - 20, -92)], (240, 140, 50))
    for y in (-66, -56):
        brush.ellipse(x, y, 2.2, 2.2, DARK)


def _girl(brush: Brush, clothes: Colour, action: str) -> None:
    _child(brush, clothes, action, girl=True)


def _boy(brush: Brush, clothes: Colour, action: str) -> None:
    _child(brush, clothes, action, girl=False)


def _car(brush: Brush, paint: Colour, action: str) -> None:
    brush.shadow(74)
    brush.polygon([(-46, -38), (-32, -66), (18, -66), (44, -38)], paint)
    brush.polygon([(-36, -40), (-26, -60), (-6, -60), (-6, -40)], (196, 226, 240))
    brush.polygon([(0, -60), (14, -60), (32, -40), (0, -40)], (196, 226, 240))
    brush.line([(-64, -32), (64, -32)], 14, paint)
    brush.line([(-64, -18), (64, -18)], 14, paint)
    brush.box(-71, -32, 71, -18, paint)
    brush.line([(-68, -16), (68, -16)], 3, darker(paint))
    brush.ellipse(67, -30, 5, 5, (255, 244, 180))
    brush.ellipse(-68, -30, 3.5, 5, (176, 30, 40))
    for x in (-40, 40):
        brush.ellipse(x, -10, 17, 17, DARK)
        brush.ellipse(x, -10, 8, 8, (206, 208, 214))


def _boat(brush: Brush, sails: Colour, action: str) -> None:
    brush.line([(0, -4), (0, -112)], 4, (112, 78, 54))
    brush.polygon([(5, -110), (56, -18), (5, -18)], sails)
    brush.polygon([(-5, -98), (-40, -18), (-5, -18)], darker(sails, 0.12))
    brush.polygon([(0, -122), (0, -112), (-18, -117)], (240, 180, 60))
    brush.polygon([(-62, -10), (66, -10), (48, 20), (-46, 20)], (132, 76, 46))
    brush.polygon([(-62, -10), (66, -10), (63, -4), (-59, -4)], (238, 226, 204))
    brush.line([(-56, 21), (58, 21)], 3, (226, 240, 246))


def _bird(brush: Brush, plumage: Colour, action: str) -> None:
    far = darker(plumage)
    brush.polygon([(0, -6), (-34, -58), (18, -24)], far)
    brush.polygon([(-34, 0), (-72, -14), (-66, 2), (-74, 14)], far)
    brush.ellipse(0, 0, 44, 19, plumage)
    brush.ellipse(38, -10, 18, 16, plumage)
    brush.polygon([(53, -14), (74, -6), (52, -3)], (250, 170, 50))
    brush.ellipse(6, 8, 26, 9, mixed(plumage, WHITE, 0.45))
    brush.polygon([(-18, -6), (-62, -66), (-14, -52), (24, -6)], mixed(plumage, DARK, 0.12))
    brush.ellipse(43, -14, 4, 4, WHITE)
    brush.ellipse(44, -14, 2.4, 2.4, DARK)


def _balloon(brush: Brush, silk: Colour, action: str) -> None:
    def gore(share: float, fill: Colour) -> None:
        """The silk, or a stripe of a share of its width: a circle above, straight towards the basket."""
        rows = [(y, math.sqrt(58**2 - (y + 6) ** 2)) for y in range(-64, 35)] + [(60, 16)]
        brush.polygon([(share * half, y) for y, half in rows] + [(-share * half, y) for y, half in rows[::-1]], fill)

    for side in (-1, 1):
        brush.line([(side * 15, 60), (side * 9, 76)], 1.4, DARK)
    for share, fill in ((1, silk), (0.6, (255, 232, 176)), (0.22, silk)):
        gore(share, fill)
    brush.box(-10, 76, 10, 92, (150, 98, 56))
    brush.box(-11, 75, 11, 79, (112, 70, 40))


DRAW_SUBJECT: dict[str, Callable[[Brush, Colour, str], None]] = {
    "dog": _dog,
    "cat": _cat,
    "girl": _girl,
    "boy": _boy,
    "car": _car,
    "boat": _boat,
    "bird": _bird,
    "balloon": _balloon,
}
