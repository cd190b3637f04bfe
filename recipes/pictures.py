"""What Pillow does with strangers' files: look, decode, make smaller, keep no secrets.

No message passes here. Only four formats are tried, as Pillow knows some that run programs.
Nothing here may run on the event loop: `images.py` has a thread for it.
"""

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms, ImageOps

from recipes.picture_limits import LARGEST_SIDE, MOST_PIXELS, NotAPicture

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
QUALITY = 80

# Pillow raises an error at twice this number, and warns before; the warning helps nobody here.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# What Pillow raises for files that are not what they seem.
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
BROKEN_PROFILE: tuple[type[Exception], ...] = (*BROKEN, ImageCms.PyCMSError)


def look(content: bytes) -> dict[str, Any]:
    """What an image says of itself: {format, width, height, bytes}. Decodes no pixel."""
    if not content:
        raise NotAPicture("is empty")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return facts(image, content)
    except Image.DecompressionBombError as error:
        raise NotAPicture(f"has too many pixels; {MOST_PIXELS:,} are the most") from error
    except BROKEN as error:
        raise NotAPicture("is not a JPEG, PNG, WebP or GIF image") from error


def optimise(content: bytes, side: int = LARGEST_SIDE) -> tuple[bytes, dict[str, Any]]:
    """A WebP of at most `side` pixels each way, upright, in sRGB, without metadata."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            picture = upright(image, side)
    except BROKEN as error:
        raise NotAPicture("is damaged: it cannot be read to its end") from error
    made = BytesIO()
    picture.save(made, "WEBP", quality=QUALITY)  # writes only the metadata that it is given
    return made.getvalue(), facts(picture, made.getvalue(), "WEBP")


def upright(image: Image.Image, side: int) -> Image.Image:
    """The first frame, small, in colours that WebP has, turned as its camera was held."""
    if image.mode not in {"RGB", "RGBA", "CMYK", "L"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((side, side))
    return in_srgb(ImageOps.exif_transpose(image))


def in_srgb(image: Image.Image) -> Image.Image:
    """The same colours, as they are without a profile; without one, sRGB is assumed."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile := image.info.get("icc_profile"):
        try:
            source, ours = (
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
            )
            converted = ImageCms.profileToProfile(image, source, ours, outputMode=mode)
            return converted or image
        except BROKEN_PROFILE:
            pass  # a broken profile spoils no picture
    return image.convert(mode)


def facts(image: Image.Image, content: bytes, made: str = "") -> dict[str, Any]:
    return {
        "format": made or image.format,
        "width": image.width,
        "height": image.height,
        "bytes": len(content),
    }
