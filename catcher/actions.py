"""What the buttons of a bin's page do: new, answer, clear, send again, download.

No message passes here. The URLs begin with `/catcher/~/`, which is no bin's name, so that
nothing that is caught can be one of them. Whoever knows a bin's name may change it; the forms
are protected against other sites.
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import aget_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from catcher.bins import new_bin
from catcher.masking import clean
from catcher.models import (
    LARGEST_ANSWER,
    LONGEST_DELAY_SECONDS,
    Bin,
    Entry,
    change,
    clear,
    keep,
    version_of,
)
from catcher.pages import context_of
from groupcommit.writer import writer

DOWNLOADED_AT_ONCE = 20


class AnswerForm(forms.Form):
    """What a bin shall answer."""

    status = forms.IntegerField(min_value=200, max_value=599, label="Status")
    delay_seconds = forms.FloatField(
        min_value=0, max_value=LONGEST_DELAY_SECONDS, label="Delay in seconds", required=False
    )
    body = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        label="Body",
        required=False,
        strip=False,
        max_length=LARGEST_ANSWER,
    )

    def clean_delay_seconds(self) -> float:
        return self.cleaned_data["delay_seconds"] or 0.0

    def clean_body(self) -> str:
        return clean(self.cleaned_data["body"])


def see(name: str, query: str = "") -> HttpResponse:
    """303 See Other: the browser asks for the bin's page with GET (RFC 9110, 15.4.4)."""
    return HttpResponseRedirect(reverse("bin", args=[name]) + query, status=303)


@require_POST
async def make_bin(request: HttpRequest) -> HttpResponse:
    """Make a new bin with a name that cannot be guessed."""
    return see(new_bin(request))


@never_cache
async def bin_answer(request: HttpRequest, name: str) -> HttpResponse:
    """The form that says what a bin answers, and what it does."""
    if request.method == "POST":
        form = AnswerForm(request.POST)
        if form.is_valid():
            await writer.write(change, (name, form.cleaned_data))
            return see(name)
    else:
        form = AnswerForm(await sync_to_async(answer_now)(name))
    return await sync_to_async(show_form)(request, name, form)


def answer_now(name: str) -> dict[str, Any]:
    chosen = Bin.named(name)
    return {field: getattr(chosen, field) for field in AnswerForm.base_fields}


def show_form(request: HttpRequest, name: str, form: AnswerForm) -> HttpResponse:
    status = 200 if form.is_valid() else 400
    context = context_of(request, name) | {"form": form, "longest": LONGEST_DELAY_SECONDS}
    return render(request, "catcher/answer.html", context, status=status)


@require_POST
async def clear_bin(request: HttpRequest, name: str) -> HttpResponse:
    """Delete all requests of a bin, once that is confirmed."""
    if "confirmed" not in request.POST:
        return await sync_to_async(ask_to_clear)(request, name)
    await writer.write(clear, name)
    return see(name)


def ask_to_clear(request: HttpRequest, name: str) -> HttpResponse:
    here = {"action": reverse("clear_bin", args=[name]), "back": reverse("bin", args=[name])}
    total = version_of(name).total
    return render(
        request, "catcher/clear.html", context_of(request, name) | here | {"total": total}
    )


@require_POST
async def replay(request: HttpRequest, name: str, entry_id: int) -> HttpResponse:
    """Catch a request once more, as if it had been sent to its bin again.

    Nothing is sent anywhere: a server that repeats requests to any URL could be told to attack.
    """
    entry = await aget_object_or_404(Entry.objects.bin(name), id=entry_id)
    entry.pk, entry.at, entry.status, entry.replayed = None, timezone.now(), 0, True
    await writer.write(keep, entry)
    return see(name)


@never_cache
@require_safe
async def download(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """All requests of a bin as JSON, newest first."""
    response = StreamingHttpResponse(as_json(name), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}.json"'
    return response


async def as_json(name: str) -> AsyncIterator[str]:
    """A JSON array in pieces. Each is a query of its own, so a slow reader holds up nobody."""
    yield "["
    older, between = Entry.objects.bin(name), "\n"
    while entries := [entry async for entry in older[:DOWNLOADED_AT_ONCE]]:
        for entry in entries:
            yield between + json.dumps(record(entry))
            between = ",\n"
        older = Entry.objects.bin(name).filter(id__lt=entries[-1].id)
    yield "\n]\n"


def record(entry: Entry) -> dict[str, Any]:
    """A request for scripts: its body is text, or base64 where it is none."""
    body = bytes(entry.body)
    try:
        content = {"body": body.decode()}
    except UnicodeDecodeError:
        content = {"body_base64": b64encode(body).decode()}
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "method": entry.method,
        "path": entry.path,
        "headers": entry.headers,
        **content,
        "truncated": entry.truncated,
        "status": entry.status,
        "replayed": entry.replayed,
        "signature_fits": entry.signature_fits,
        "verdict": entry.verdict,
    }
