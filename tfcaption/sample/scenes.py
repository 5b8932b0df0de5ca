"""What a photo of the sample shows: a place, and somebody or something that does something there."""

import random
from dataclasses import dataclass

GROUND = ("meadow", "beach", "snow", "street", "autumn", "night")
ROADS = ("meadow", "snow", "street", "autumn", "night")
WATER = ("sea", "sunset")
PLACES = (*GROUND, *WATER)


@dataclass(frozen=True)
class Subject:
    """What a kind of subject can look like and do, and where."""

    colours: tuple[str, ...]
    actions: dict[str, tuple[str, ...]]  # action -> places


SUBJECTS = {
    "dog": Subject(
        ("brown", "black", "white"),
        {"run": GROUND, "sit": GROUND, "ball": ("meadow", "beach", "snow", "autumn"), "cat": ("meadow", "street")},
    ),
    "cat": Subject(("orange", "grey"), {"walk": GROUND, "sit": GROUND}),
    "girl": Subject(
        ("red", "yellow"),
        {"run": GROUND[:-1], "kite": ("meadow", "beach"), "snowman": ("snow",), "dog": ("street", "autumn")},
    ),
    "boy": Subject(
        ("blue", "green"),
        {"run": GROUND[:-1], "kite": ("meadow", "beach"), "snowman": ("snow",), "ball": ("meadow", "street", "autumn")},
    ),
    "car": Subject(("red", "blue", "yellow"), {"drive": ROADS}),
    "boat": Subject(("white", "red"), {"sail": WATER}),
    "bird": Subject(("red", "blue", "yellow"), {"fly": PLACES}),
    "balloon": Subject(("red", "purple"), {"float": ("meadow", "beach", "snow", "autumn", *WATER)}),
}


@dataclass(frozen=True)
class Scene:
    """One photo: a subject of a colour (of its fur, paint or clothes) that does something at a place."""

    subject: str
    colour: str
    action: str
    place: str


ALL_SCENES = tuple(
    Scene(name, colour, action, place)
    for name, subject in SUBJECTS.items()
    for action, places in subject.actions.items()
    for place in places
    for colour in subject.colours
    if (colour, place) not in (("white", "snow"), ("orange", "autumn"), ("black", "night"))  # hardly to be seen
)


def random_scene(generator: random.Random) -> Scene:
    """A scene; every kind of subject is as frequent as any other, and so is every action of it."""
    name = generator.choice(tuple(SUBJECTS))
    action = generator.choice(tuple(SUBJECTS[name].actions))
    return generator.choice([scene for scene in ALL_SCENES if (scene.subject, scene.action) == (name, action)])
