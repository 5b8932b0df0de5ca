"""Letters that Pillow's font lacks are drawn in a font that has them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import ImageFont

from tfcaption.preprocessing import fonts
from tfcaption.preprocessing.fonts import font_for

TEXTS = ["naïve café", "一个男人在骑马", "رجل يركب حصانًا", "סוס רץ", "คนขี่ม้า", "घोड़े पर"]


def installed_for(text):
    """Whether a font of those that are tried has all letters, as fontconfig says."""
    if shutil.which("fc-list") is None:
        return False
    letters = " ".join(f"{ord(letter):x}" for letter in text if not letter.isspace())
    said = subprocess.run(["fc-list", f":charset={letters}", "file"], check=True, capture_output=True, text=True).stdout
    return any(Path(line.rpartition(":")[0]).name in fonts._INSTALLED for line in said.splitlines())


def picture(font, letter):
    return bytes(font.getmask(letter))


def test_ascii_is_drawn_in_pillows_own_font():
    assert font_for("A dog 's toy.", 20).getname() == ImageFont.load_default(20).getname()


@pytest.mark.parametrize("text", TEXTS)
def test_all_letters_of_a_text_are_drawn_where_a_font_for_them_is_installed(text):
    if not installed_for(text):
        pytest.skip("needs fontconfig and fonts: Debian's fonts-dejavu-core, fonts-noto-core and fonts-noto-cjk")
    font = font_for(text, 20)
    assert picture(font, "\uffff") not in {picture(font, letter) for letter in text.replace(" ", "")}


def test_without_installed_fonts_the_text_is_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(fonts, "_INSTALLED", ("no such font.ttf",))
    fonts._installed.cache_clear()
    assert font_for(TEXTS[1], 20).getname() == ImageFont.load_default(20).getname()
    fonts._installed.cache_clear()
