"""The door: what is no image, or too much of one, gets a sentence; the rest is kept and queued."""

import re
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from harness.visitor import TOKEN
from jobs.models import Job
from recipes.models import StoredFile, Upload
from recipes.uploading import LARGEST_IMAGE
from tests.recipes.pictures import bomb, photo, picture

UPLOAD = "/api/upload-image"
pytestmark = pytest.mark.usefixtures("transactional_db")


def send(client: Client, content: bytes, name: str = "photo.jpg", **more: object):
    """Send a file by the page's form."""
    file = SimpleUploadedFile("x", content)
    file._name = name  # a real form's name is not cut as SimpleUploadedFile cuts it
    return client.post(UPLOAD, {"image": file} | more)


def test_form_keeps_the_image_and_leads_to_the_page_with_its_job(client):
    answer = send(client, photo())
    job, upload = Job.objects.get(), Upload.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, f"/image?job={job.id}")
    assert (job.args, job.steps_total, job.owner) == ([upload.id], 2, upload.owner)
    assert upload.read("before") == photo()
    assert upload.before["format"] == "JPEG"
    page = client.get(answer["Location"]).text
    assert "<bdi>photo.jpg</bdi>: nothing has been made of it yet." in page


def test_program_gets_the_originals_answer(client):
    answer = client.post(f"{UPLOAD}?name=cat.png", picture("PNG"), content_type="image/png")
    job, upload = Job.objects.get(), Upload.objects.get()
    assert answer.json() == {
        "message": "Image queued for processing!",
        "qstashMessageId": job.message_id,
        "jobId": job.id,
        "imageId": upload.id,
    }
    assert upload.name == "cat.png"


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 415, "photo.jpg is empty."),
        (b"just a text", 415, "photo.jpg is not a JPEG, PNG, WebP or GIF image."),
        (bomb(), 415, "photo.jpg has too many pixels; 25,000,000 are the most."),
        (bytes(LARGEST_IMAGE + 1), 413, "photo.jpg is too large: 10 MB are the most."),
        (bytes(LARGEST_IMAGE + 100_000), 413, "The image is too large: 10 MB are the most."),
    ],
)
def test_what_cannot_be_used_gets_a_sentence_and_is_not_kept(client, content, status, told):
    answer = send(client, content)
    assert answer.status_code == status
    assert told in answer.text
    assert not (Job.objects.exists() or Upload.objects.exists() or StoredFile.objects.exists())
    answer = client.post(f"{UPLOAD}?name=photo.jpg", content, content_type="image/jpeg")
    assert (answer.status_code, answer.json()) == (status, {"error": told})


def test_form_without_a_file_is_shown_again(client):
    answer = client.post(UPLOAD, {"other": BytesIO(b"x")})
    assert answer.status_code == 400
    assert "Choose an image first." in answer.text


def test_form_without_its_token_and_page_of_another_site_are_refused():
    browser = Client(enforce_csrf_checks=True)
    assert send(browser, picture()).status_code == 403
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    answer = browser.post(UPLOAD, picture(), content_type="image/jpeg", headers=elsewhere)
    assert (answer.status_code, Upload.objects.count()) == (403, 0)
    token = TOKEN.search(browser.get("/image").text)[1]
    assert send(browser, picture(), csrfmiddlewaretoken=token).status_code == 303


def test_visitors_oldest_image_makes_room_for_the_newest(client, monkeypatch):
    monkeypatch.setattr(Upload, "MOST_A_VISITOR", 2)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        send(client, picture(), name)
    send(Client(), picture(), "another visitor's.jpg")
    names = sorted(Upload.objects.values_list("name", flat=True))
    assert names == ["another visitor's.jpg", "b.jpg", "c.jpg"]
    assert StoredFile.objects.count() == 3


def test_all_visitors_together_are_bounded(monkeypatch):
    monkeypatch.setattr(Upload, "MOST_IN_ALL", 2)
    for _ in range(3):
        send(Client(), picture())
    assert Upload.objects.count() == StoredFile.objects.count() == 2


@pytest.fixture
def done() -> Upload:
    """An upload of which everything has been made."""
    upload = Upload.objects.create(owner="somebody", name="a.jpg")
    for kind, content in {"before": photo(), "after": picture("WEBP")}.items():
        form = "JPEG" if kind == "before" else "WEBP"
        facts = {"format": form, "width": 64, "height": 32, "bytes": len(content)}
        upload.keep(kind, content, facts)
    return upload


def test_pictures_are_served_as_images_and_nothing_else(client, done):
    for kind, content_type in {"before": "image/jpeg", "after": "image/webp"}.items():
        answer = client.get(f"/images/{done.id}/{kind}")
        assert answer.content == done.read(kind)
        assert answer["Content-Type"] == content_type
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert answer["Cache-Control"].startswith("private")


@pytest.mark.parametrize("kind", ["thumbnail", "owner", "delete", "nothing"])
def test_what_is_not_there_is_not_found(client, done, kind):
    assert client.get(f"/images/{done.id}/{kind}").status_code == 404
    assert client.get(f"/images/{'0' * 32}/before").status_code == 404


def test_upload_that_was_not_decoded_to_its_end_is_not_served(client):
    send(client, photo())
    assert client.get(f"/images/{Upload.objects.get().id}/before").status_code == 404


def test_image_whose_file_is_gone_is_not_found(client, done):
    StoredFile.objects.all().delete()
    assert client.get(f"/images/{done.id}/after").status_code == 404


def test_hostile_name_is_harmless_on_the_page(client):
    send(client, picture(), "<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 300)
    upload = Upload.objects.get()
    assert len(upload.name) <= 255
    page = client.get(f"/image?job={Job.objects.get().id}").text
    assert "<img src=x" not in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page


async def test_page_is_told_what_was_made(async_client, queued_job):
    from recipes.images import process_image

    upload = await Upload.objects.acreate(owner="somebody", name="a.jpg")
    job = await queued_job(process_image, upload.id)
    page = (await async_client.get(f"/image?job={job.id}")).text
    version = re.search(r'data-live="[^"]+" data-version="([^"]+)"', page)[1]
    url = f"/image/{job.id}/changes"
    assert (await async_client.get(url, {"since": version})).status_code == 204
    upload.before = {"format": "JPEG", "width": 640, "height": 320, "bytes": 20_000}
    upload.after = {"format": "WEBP", "width": 640, "height": 320, "bytes": 5_000}
    await upload.asave()
    job.steps_done, job.status = 1, "running"
    await job.asave()
    news = (await async_client.get(url, {"since": version})).text
    assert "is 75 % smaller now." in news
    assert f'src="/images/{upload.id}/after" width="640" height="320"' in news


async def test_job_whose_image_is_gone_says_so(async_client, queued_job):
    from recipes.images import process_image

    job = await queued_job(process_image, "0" * 32, status="succeeded")
    assert "not kept any more" in (await async_client.get(f"/image?job={job.id}")).text
