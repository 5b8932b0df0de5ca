"""Which photo a text file belongs to: one rule for folders and for tar files."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.photo_names import spelling

# Endings of files that hold the captions of the photo of their name, a caption a line.
TEXT_ENDINGS = (".txt", ".text", ".caption", ".captions")
JSON_ENDING = ".json"


def ending(path: str) -> str:
    """The last ending of a path's file name, in lower case; empty if it has none."""
    name = path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name[1:] else ""


def is_text(path: str) -> bool:
    """True for the name of a file that may hold the captions of a photo."""
    return ending(path) in (*TEXT_ENDINGS, JSON_ENDING)


def photos_of_texts(paths: Sequence[str], is_photo: Callable[[str], bool], *, by_key: bool = False) -> dict[str, str]:
    """Text file -> the photo that it describes; texts that describe none are left out.

    The first of these rules that finds a photo decides:

    1. the photo of the same path up to the ending (a.b.jpg and a.b.txt);
    2. the photo whose whole name comes before the ending (a.jpg and a.jpg.txt);
    3. WebDataset's key: the photo of the same path up to the first dot (a.5mm.jpg and a.txt), if there is only one;
    4. rule 1 where names differ in spelling, if only one photo is spelt so;
    5. a file by rule 1 or 2 without the ending of a photo, if its content is one.

    Args:
        paths: of all files; of several photos of one path the first counts.
        is_photo: whether the content of a file is a photo.
        by_key: use rule 3.
    """
    texts = [path for path in paths if is_text(path)]
    photos = [path for path in paths if is_photo_name(path)]
    by_stem: dict[str, str] = {}
    keyed, spelt = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for path in photos:
        stem = by_stem.setdefault(_stem(path), path)
        keyed[_key(path)].add(stem)
        spelt[spelling(_stem(path))].add(stem)
    names = set(photos)
    found: dict[str, str] = {}
    for text in texts:
        stem = _stem(text)
        if stem in by_stem:
            found[text] = by_stem[stem]
        elif stem in names:
            found[text] = stem
        elif by_key and stem == _key(text) and len(keyed.get(stem, ())) == 1:
            (found[text],) = keyed[stem]
        elif len(alike := spelt.get(spelling(stem), set())) == 1:
            (found[text],) = alike
    if len(found) < len(texts):
        found |= _unknown_endings([text for text in texts if text not in found], paths, is_photo)
    return found


def _unknown_endings(texts: Iterable[str], paths: Iterable[str], is_photo: Callable[[str], bool]) -> dict[str, str]:
    others = defaultdict[str, list[str]](list)
    for path in paths:
        if not is_text(path) and not is_photo_name(path):
            for name in {path, _stem(path)}:
                others[name].append(path)
    candidates = {text: next(filter(is_photo, others.get(_stem(text), ())), None) for text in texts}
    return {text: photo for text, photo in candidates.items() if photo}


def _stem(path: str) -> str:
    return path[: len(path) - len(ending(path))]


def _key(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]
