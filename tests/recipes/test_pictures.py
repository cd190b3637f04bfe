"""Pillow and strangers' files: what is made is small, upright and says nothing of its maker."""

import random
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from recipes.picture_limits import MOST_PIXELS, NotAPicture
from recipes.pictures import look, optimise
from tests.recipes.pictures import bomb, photo, picture


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def colour(image: Image.Image, x: int, y: int) -> str:
    red, _, blue = image.convert("RGB").getpixel((x, y))
    return "red" if red > blue else "blue"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_four_formats_are_read(kind):
    content = picture(kind)
    facts = look(content)
    assert facts == {"format": kind, "width": 64, "height": 32, "bytes": len(content)}
    made, told = optimise(content)
    image = opened(made)
    assert (image.format, image.size, len(made)) == ("WEBP", (64, 32), told["bytes"])
    assert (colour(image, 5, 16), colour(image, 58, 16)) == ("red", "blue")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_pixel_becomes_a_webp(mode):
    content = BytesIO()
    Image.new(mode, (8, 8)).save(content, "PNG")
    assert opened(optimise(content.getvalue())[0]).size == (8, 8)


def test_print_colours_become_screen_colours():
    assert colour(opened(optimise(picture(mode="CMYK"))[0]), 5, 16) == "red"


def test_transparent_stays_transparent():
    content = BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(content, "PNG")
    assert opened(optimise(content.getvalue())[0]).getpixel((4, 4))[3] == 0


def test_large_image_is_made_small_and_keeps_its_proportions():
    made, facts = optimise(picture(size=(4000, 1000)))
    assert (facts["width"], facts["height"]) == opened(made).size == (1600, 400)
    assert optimise(made, 320)[1]["width"] == 320


@pytest.mark.parametrize(
    ("orientation", "size", "first"),
    [(1, (64, 32), "red"), (3, (64, 32), "blue"), (6, (32, 64), "red"), (8, (32, 64), "blue")],
)
def test_photo_stands_upright_without_saying_how_the_camera_was_held(orientation, size, first):
    image = opened(optimise(photo(orientation))[0])
    assert (image.size, colour(image, 3, 3)) == (size, first)
    assert not image.getexif()


def test_nothing_tells_who_took_a_photo_or_where():
    content = photo()
    assert b"SecretCam" in content and b"secret comment" in content
    made, _ = optimise(content)
    assert b"SecretCam" not in made and b"secret comment" not in made
    assert not opened(made).info.keys() & {"exif", "xmp", "icc_profile", "comment"}


def test_wide_colours_become_those_of_the_web():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = opened(optimise(picture(icc_profile=profile))[0])
    assert (colour(image, 5, 16), "icc_profile" in image.info) == ("red", False)
    assert opened(optimise(picture(icc_profile=b"broken"))[0]).size == (64, 32)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"just a text", "is not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a JPEG"),
        (picture("BMP"), "is not a JPEG"),
        (bomb(), "has too many pixels; 25,000,000 are the most"),
        (bomb(MOST_PIXELS + 1, 1), "has too many pixels"),
    ],
)
def test_what_is_no_image_is_seen_without_decoding_it(content, told):
    with pytest.raises(NotAPicture, match=told):
        look(content)


def test_truncated_photo_is_found_out_when_it_is_decoded():
    content = photo(size=(640, 640))[:-200]
    assert look(content)["width"] == 640
    with pytest.raises(NotAPicture, match="is damaged"):
        optimise(content)


def test_image_with_fewer_rows_than_it_says_is_damaged():
    with pytest.raises(NotAPicture, match="is damaged"):
        optimise(bomb(1000, 1000))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_no_damage_raises_anything_else(kind):
    whole, dice = picture(kind), random.Random(kind)  # noqa: S311
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        try:
            look(bytes(content))
            optimise(bytes(content))
        except NotAPicture:
            pass
