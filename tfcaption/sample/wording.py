"""Captions of a scene, as five people would word them."""

import random

from tfcaption.sample.scenes import Scene

# Subject -> the noun phrase with its colour, and those without.
NOUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dog": ("{colour} dog", ("dog",)),
    "cat": ("{colour} cat", ("cat",)),
    "girl": ("girl in a {colour} dress", ("girl", "child")),
    "boy": ("boy in a {colour} shirt", ("boy", "child")),
    "car": ("{colour} car", ("car",)),
    "boat": ("boat with {colour} sails", ("boat", "sailing boat")),
    "bird": ("{colour} bird", ("bird",)),
    "balloon": ("{colour} balloon", ("balloon", "hot air balloon")),
}
# Action -> (third person, participle) of each wording.
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "run": (("runs", "running"),),
    "walk": (("walks", "walking"),),
    "sit": (("sits", "sitting"),),
    "ball": (("plays with a ball", "playing with a ball"), ("runs after a ball", "running after a ball")),
    "cat": (("chases a cat", "chasing a cat"), ("runs after a cat", "running after a cat")),
    "dog": (("walks a dog", "walking a dog"), ("plays with a dog", "playing with a dog")),
    "kite": (("flies a kite", "flying a kite"), ("plays with a kite", "playing with a kite")),
    "snowman": (("builds a snowman", "building a snowman"), ("stands by a snowman", "standing by a snowman")),
    "drive": (("drives", "driving"),),
    "sail": (("sails", "sailing"),),
    "fly": (("flies", "flying"),),
    "float": (("floats", "floating"), ("rises", "rising")),
}
MOVES = {"run": "through", "walk": "through", "drive": "along", "fly": "over", "float": "over"}  # others are at a place
# How something is at, moves through, drives along or flies over a place.
WHERE: dict[str, dict[str, tuple[str, ...]]] = {
    "meadow": {
        "at": ("in the meadow", "on green grass", "under a blue sky"),
        "through": ("across the meadow", "on green grass", "under a blue sky"),
        "along": ("along a country road", "past green fields"),
        "over": ("over the meadow", "over green grass", "in a blue sky"),
    },
    "beach": {
        "at": ("on the beach", "on the sand", "by the sea"),
        "through": ("along the beach", "on the sand", "by the sea"),
        "over": ("over the beach", "over the sand"),
    },
    "snow": {
        "at": ("in the snow", "on a winter day"),
        "through": ("through the snow", "in the snow", "on a winter day"),
        "along": ("along a snowy road", "through the snow"),
        "over": ("over the snow", "over snowy trees"),
    },
    "street": {
        "at": ("on the street", "in front of houses", "in the city"),
        "through": ("down the street", "past houses", "in the city"),
        "along": ("down the street", "past houses", "in the city"),
        "over": ("over the street", "past houses", "in the city"),
    },
    "autumn": {
        "at": ("on fallen leaves", "in an autumn park", "under autumn trees"),
        "through": ("on fallen leaves", "through an autumn park", "under autumn trees"),
        "along": ("past autumn trees", "along a road in autumn"),
        "over": ("over an autumn park", "over autumn trees"),
    },
    "night": {
        "at": ("at night", "under the moon", "in the dark"),
        "through": ("at night", "under the moon", "in the dark"),
        "along": ("at night", "under the moon", "along a dark road"),
        "over": ("at night", "under the moon", "in a dark sky"),
    },
    "sea": {
        "at": ("on the sea", "on blue water"),
        "over": ("over the sea", "over blue water"),
    },
    "sunset": {
        "at": ("at sunset", "on the sea at sunset", "under an orange sky"),
        "over": ("at sunset", "over the sea at sunset", "in an orange sky"),
    },
}


def describe(scene: Scene, generator: random.Random) -> list[str]:
    """Five captions of a scene in different wordings, with human punctuation."""
    coloured, plain = NOUNS[scene.subject]
    full = coloured.format(colour=scene.colour)
    preposition = MOVES.get(scene.action, "at")

    def verb() -> tuple[str, str]:
        return generator.choice(VERBS[scene.action])

    def where() -> str:
        return generator.choice(WHERE[scene.place][preposition])

    return [
        f"{_article(full).capitalize()} {full} {verb()[0]} {where()} .",
        f"{_article(full)} {full} {verb()[1]} {where()}",
        f"{_article(full).capitalize()} {full} is {verb()[1]} {where()} .",
        f"The {generator.choice(plain)} {verb()[0]} {where()} .",
        f"{full.capitalize()} {verb()[1]} {where()} .",
    ]


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
