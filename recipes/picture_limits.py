"""What an image may be, and how large what is made of it.

No message passes here. `pictures.py` keeps to these numbers; a page that names them does not
have to import Pillow.
"""

# Decoded, a pixel takes four bytes: so much memory does one image need at most, 100 MB.
MOST_PIXELS = 25_000_000
LARGEST_SIDE = 1600
THUMBNAIL_SIDE = 320


class NotAPicture(Exception):
    """No image can be made of these bytes; the text says why, to go on after the file's name."""
