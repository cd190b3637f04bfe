"""Images for the tests, made where they are needed."""

import struct
import zlib
from io import BytesIO

from PIL import Image

GPS = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
ORIENTATION, GPS_INFO, MAKE = 0x0112, 0x8825, 0x010F


def picture(
    kind: str = "JPEG", size: tuple[int, int] = (64, 32), mode: str = "RGB", **save
) -> bytes:
    """The left half is red, the right one blue."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    made = BytesIO()
    image.convert(mode).save(made, kind, **save)
    return made.getvalue()


def photo(orientation: int = 1, size: tuple[int, int] = (64, 32)) -> bytes:
    """A JPEG that tells who has taken it, where, and how the camera was held."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = orientation, "SecretCam"
    exif.get_ifd(GPS_INFO).update(GPS)
    return picture(size=size, exif=exif, comment=b"secret comment", quality=95)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few bytes that says it has billions of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
