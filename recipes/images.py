"""The image example's task: an upload becomes a small WebP and a thumbnail.

The message names the upload; it comes to `/api/process-image`. The image itself stays in the
storage. What is done to it is in `pictures.py`, the page and the upload are in `uploading.py`.
https://upstash.com/docs/qstash/quickstarts/vercel-nextjs
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections
from django.tasks import task

from groupcommit.transactions import write_transaction
from jobs.exceptions import GiveUp
from jobs.interface import JobContext
from recipes.models import Upload
from recipes.picture_limits import THUMBNAIL_SIDE, NotAPicture
from recipes.text import shown

# Pillow lets go of the interpreter while it decodes, so a thread keeps the event loop free. One:
# the memory that a process needs is that of one image, however many are uploaded at once. A
# process of its own would be another 40 MB, and outlive a parent that is killed.
pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="image")


@task(takes_context=True, steps=2, endpoint="process-image", timeout=60)
async def process_image(context: JobContext, image_id: str) -> None:
    """Make the WebP, then the thumbnail of it; each is kept before it is noted."""
    for step in context.steps_left():
        make = make_webp if step == 1 else make_thumbnail
        said = await asyncio.get_running_loop().run_in_executor(pool, in_pool, make, image_id)
        await context.note(said)


def in_pool(make: Any, image_id: str) -> str:
    """Run one step in the pool's thread, without keeping its connection."""
    upload = Upload(name="the image")
    try:
        upload = Upload.objects.get(id=image_id)
        return str(make(upload))
    except Upload.DoesNotExist as error:
        raise GiveUp("the image has been deleted meanwhile") from error
    except FileNotFoundError as error:
        raise GiveUp("the image's file is gone") from error
    except NotAPicture as error:
        raise GiveUp(f"{shown(upload.name)} {error}") from error
    finally:
        connections.close_all()


def make_webp(upload: Upload) -> str:
    """Decode what was uploaded, which shows whether it is an image to its end."""
    from recipes.pictures import optimise  # here, in the thread: Pillow takes 0.02 s

    made = keep(upload, "after", *optimise(upload.read("before")))
    return f"{made['width']} × {made['height']} WebP, {made['bytes']} bytes"


def make_thumbnail(upload: Upload) -> str:
    from recipes.pictures import optimise

    made = keep(upload, "thumbnail", *optimise(upload.read("after"), THUMBNAIL_SIDE))
    return f"{made['width']} × {made['height']} thumbnail, {made['bytes']} bytes"


def keep(upload: Upload, kind: str, content: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    with write_transaction():
        upload.keep(kind, content, facts)
    return facts
