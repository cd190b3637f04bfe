"""The image example's page, and the upload: what is no image is refused at the door.

The image is kept, and a message that names it leaves here. `images.py` has the task that it is
for.
"""

from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from groupcommit.transactions import write_transaction
from jobs.example_job import Example
from jobs.excerpts import excerpt
from jobs.models import Job
from jobs.pages import Card
from jobs.views import redirect_after_post, visitor_of
from live.views import News, live
from recipes.images import make_webp, process_image
from recipes.models import Upload
from recipes.origins import is_form, refusal
from recipes.picture_limits import MOST_PIXELS, NotAPicture
from recipes.progress import card_of, news, progress, published, shown_job, version_of
from recipes.text import shown

LARGEST_IMAGE = 10 * 1024 * 1024
# What a form has around its file.
FORM_BYTES = 64 * 1024
TOO_LARGE = "is too large: 10 MB are the most"


class Refused(Exception):
    """Nothing has been kept: why, and the status that says so."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Sent(NamedTuple):
    """A file as it has come."""

    name: str
    content: bytes


@csrf_exempt
@require_POST
async def upload_image(request: HttpRequest) -> HttpResponseBase:
    """Keep an image, and enqueue what is to be done with it.

    A form gets the page. A program posts the bytes alone, names the file in `?name=`, and gets
    JSON like the original's.
    """
    answer = answer_form if is_form(request) else answer_json
    try:
        upload = await sync_to_async(take)(request)
    except Refused as error:
        return await answer(request, None, str(error), error.status)
    if isinstance(upload, HttpResponseBase):
        return upload
    task = process_image.using(owner=upload.owner)
    job, failure = await published(task.aenqueue(upload.id))
    return await answer(request, job, failure, 503 if failure else 200)


def take(request: HttpRequest) -> Upload | HttpResponseBase:
    """Keep what was sent, or say why not. Reads and parses the whole body, so in a thread."""
    from recipes.pictures import look  # here, as in images.py

    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > LARGEST_IMAGE + FORM_BYTES:
        raise Refused(f"The image {TOO_LARGE}.", 413)
    if refused := refusal(request):
        return refused
    sent = read_form(request) if is_form(request) else read_body(request)
    try:
        if len(sent.content) > LARGEST_IMAGE:
            raise NotAPicture(TOO_LARGE)
        facts = look(sent.content)
    except NotAPicture as error:
        status = 413 if TOO_LARGE in str(error) else 415
        raise Refused(f"{shown(sent.name)} {error}.", status) from error
    return stored(visitor_of(request), sent, facts)


def read_form(request: HttpRequest) -> Sent:
    """The form's file. A larger one than is allowed is not read."""
    file = request.FILES.get("image")
    if not isinstance(file, UploadedFile):
        raise Refused("Choose an image first.")
    size = LARGEST_IMAGE + 1
    return Sent((file.name or "image").replace("\0", "")[:255], file.read(size))


def read_body(request: HttpRequest) -> Sent:
    name = request.GET.get("name", "").replace("\0", "")[:255] or "The image"
    return Sent(name, request.read(LARGEST_IMAGE + 1))


def stored(owner: str, sent: Sent, facts: dict[str, Any]) -> Upload:
    """Keep a file; beyond their limits, the visitor's and the site's oldest uploads go."""
    with write_transaction():
        upload = Upload.objects.create(owner=owner, name=sent.name)
        upload.keep("before", sent.content, facts)
        Upload.objects.owned_by(owner).delete_all_but_newest(Upload.MOST_A_VISITOR)
        Upload.objects.all().delete_all_but_newest(Upload.MOST_IN_ALL)
    return upload


async def answer_json(
    request: HttpRequest, job: Job | None, failure: str, status: int
) -> HttpResponse:
    """What the original answers, and where the job and the image are."""
    message = "Image queued for processing!"
    told: dict[str, Any] = {"error": failure} if failure else {"message": message}
    if job:
        told |= {"qstashMessageId": job.message_id or None, "jobId": job.id, "imageId": job.args[0]}
    return JsonResponse(told, status=status)


async def answer_form(
    request: HttpRequest, job: Job | None, failure: str, status: int
) -> HttpResponse:
    """The page with what is wrong, or a redirect to it with the job."""
    if not job:
        return await sync_to_async(page)(request, None, {"failure": failure}, status)
    response = redirect_after_post("image")
    response["Location"] += f"?job={job.id}"
    return response


@never_cache
@require_safe
async def image(request: HttpRequest) -> HttpResponse:
    """The form, and what was made of the visitor's newest image, or the one of `?job=`."""
    card = await shown_job(request, process_image)
    return await sync_to_async(page)(request, card, {})


def page(
    request: HttpRequest, card: Card | None, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    from recipes.pictures import optimise

    code = [excerpt(each) for each in (upload_image, process_image.func, make_webp, optimise)]
    own = {"code": code, "largest": LARGEST_IMAGE, "most_pixels": MOST_PIXELS}
    context = own | result(request, card) | context
    return render(request, "recipes/image.html", context, status=status)


def result(request: HttpRequest, card: Card | None) -> dict[str, Any]:
    """The pictures that there are, before and after."""
    context = progress(request, card, Example(process_image, upload_image), "image_changes")
    upload = Upload.objects.filter(id=card.job.args[0]).first() if card and card.job.args else None
    if not upload:
        return context | {"deleted": bool(card)}
    before, after = upload.before.get("bytes", 0), upload.after.get("bytes", 0)
    saved = round(100 - 100 * after / before) if before and after else 0
    kinds = [kind for kind in Upload.KINDS if is_shown(upload, kind)]
    pictures = [(kind, getattr(upload, kind)) for kind in kinds]
    return context | {
        "upload": upload,
        "name": shown(upload.name),
        "pictures": pictures,
        "saved": max(0, saved),
    }


def is_shown(upload: Upload, kind: str) -> bool:
    """Whether a file may be served: it is ours, or has been decoded to its end."""
    return kind in Upload.KINDS and bool(getattr(upload, kind) and upload.after)


@live(lambda request, job_id: [f"job:{job_id}"])
async def image_changes(request: HttpRequest, since: str, job_id: str) -> News | None:
    """What was made of an image since the page was rendered."""
    job = await Job.objects.filter(id=job_id, task=process_image.module_path).afirst()
    card = await card_of(request, job)
    if not card or version_of(card) == since:
        return None
    return await sync_to_async(render_news)(request, card)


def render_news(request: HttpRequest, card: Card) -> News:
    return news(request, "recipes/image.html#made", result(request, card))


@require_safe
def picture(request: HttpRequest, image_id: str, kind: str) -> HttpResponse:
    """One of an upload's files, as an image and nothing else. Whoever knows the id may look."""
    upload = get_object_or_404(Upload, id=image_id)
    if not is_shown(upload, kind):
        raise Http404
    try:
        content = upload.read(kind)
    except FileNotFoundError as error:
        raise Http404 from error
    return HttpResponse(
        content,
        content_type=f"image/{getattr(upload, kind)['format'].lower()}",
        headers={
            "Cache-Control": "private, max-age=3600, immutable",
            "Content-Disposition": "inline",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )
