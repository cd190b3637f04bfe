"""The task behind /api/process-image: what it makes, notes, gives up on, and goes on with."""

import pytest
from asgiref.sync import sync_to_async

from harness.processes import Site
from harness.visitor import Visitor
from recipes.images import process_image
from recipes.models import Upload
from recipes.pictures import look
from tests.recipes.pictures import photo, picture

TASK = "/api/process-image"


@pytest.fixture
def process(deliver, queued_job):
    """Deliver the message of a job for an upload with this content; status, job and upload."""

    async def process(content: bytes, name: str = "photo.jpg", **fields: object):
        upload = await Upload.objects.acreate(owner="somebody", name=name)
        await sync_to_async(upload.keep)("before", content, {"bytes": len(content)})
        job = await queued_job(process_image, upload.id, **fields)
        payload = {"job_id": job.id, "args": job.args, "kwargs": job.kwargs}
        response = await deliver(TASK, payload)
        await job.arefresh_from_db()
        await upload.arefresh_from_db()
        return response.status_code, job, upload

    return process


async def test_photo_becomes_a_webp_and_a_thumbnail(process):
    status, job, upload = await process(photo(orientation=6, size=(2000, 1000)))
    assert (status, job.status, job.steps_done) == (200, "succeeded", 2)
    after = await sync_to_async(upload.read)("after")
    thumbnail = await sync_to_async(upload.read)("thumbnail")
    assert look(after) == upload.after
    assert look(thumbnail) == upload.thumbnail
    assert (upload.after["format"], upload.after["height"]) == ("WEBP", 1600)
    assert (upload.thumbnail["width"], upload.thumbnail["height"]) == (160, 320)
    assert [step["text"] for step in job.log] == [
        f"800 × 1600 WebP, {len(after)} bytes",
        f"160 × 320 thumbnail, {len(thumbnail)} bytes",
    ]


async def test_redelivery_goes_on_with_the_thumbnail(process, deliver):
    _, _, upload = await process(photo())
    webp = await sync_to_async(upload.read)("after")
    log = [{"number": 1, "at": 1.0, "text": "64 × 32 WebP"}]
    status, job, upload = await process(b"is not decoded again", steps_done=1, log=log)
    assert (status, job.error) == (489, "step 2: the image's file is gone")
    assert webp


async def test_truncated_photo_is_given_up_with_a_sentence(process):
    status, job, upload = await process(photo(size=(640, 640))[:-200])
    assert (status, job.status) == (489, "failed")
    assert job.error == "step 1: photo.jpg is damaged: it cannot be read to its end"
    assert upload.after == {}


async def test_hostile_name_is_cut_and_turns_nothing_in_the_error(process):
    name = f"\N{RIGHT-TO-LEFT OVERRIDE}gpj.{'x' * 200}"
    _, job, _ = await process(b"text", name)
    assert job.error.startswith("step 1: \N{REPLACEMENT CHARACTER}gpj.xxx")
    assert len(job.error) < 150


async def test_image_that_was_deleted_meanwhile_is_given_up(deliver, queued_job):
    job = await queued_job(process_image, "0" * 32)
    response = await deliver(TASK, {"job_id": job.id, "args": job.args, "kwargs": {}})
    await job.arefresh_from_db()
    assert (response.status_code, job.error) == (
        489,
        "step 1: the image has been deleted meanwhile",
    )


def test_hosted_queue_carries_images_too(hosted_site: Site):
    visitor = Visitor(hosted_site.url)
    url = f"{hosted_site.url}/api/upload-image?name=cat.png"
    told = visitor.http.post(url, data=picture("PNG"), timeout=30).json()
    visitor.job_id = told["jobId"]
    assert visitor.until("succeeded")["message_id"] == told["qstashMessageId"]
    made = visitor.http.get(f"{hosted_site.url}/images/{told['imageId']}/after", timeout=30)
    assert look(made.content)["format"] == "WEBP"
