"""Background jobs over HTTP: a whole Django site in one file, to be read from top to bottom.

A click publishes a message. The queue posts it to /api/long-task, which does the work, so the
visitor does not have to wait for it. Run a queue on this machine, and then the site:

    uv run manage.py broker
    uv run examples/smallest.py

For hosted QStash, set its four variables and open the site at the address of a tunnel to it.

It is naive on purpose. Nobody can see how far a job is. A message that arrives twice is worked on
twice. After a crash at the seventh request, a job starts again at the first. The package jobs/
builds the same pattern without these faults: read jobs/tasks.py and jobs/views.py next.
"""

import base64
import hashlib
import json
import logging
import time
from contextlib import suppress
from os import environ

import jwt
import requests
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import RequestContext, Template
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

# A queue on this machine, with the token and the keys that QStash has published for development:
# https://upstash.com/docs/qstash/howto/local-development
LOCAL_QUEUE = {
    "QSTASH_URL": "http://127.0.0.1:8080",
    "QSTASH_TOKEN": "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
    "QSTASH_NEXT_SIGNING_KEY": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
}
QUEUE = environ if environ.get("QSTASH_TOKEN") else LOCAL_QUEUE
KEYS = [QUEUE["QSTASH_CURRENT_SIGNING_KEY"], QUEUE["QSTASH_NEXT_SIGNING_KEY"]]
TARGET = environ.get("LONG_TASK_TARGET_URL", "https://firstqstashmessage.requestcatcher.com/test")

# 1. The page. htmx posts the form, disables the button meanwhile, and takes the message out of
# the answer. Without JavaScript the browser posts the form and shows the answer as a new page.

PAGE = """{% load django_htmx %}<!doctype html>
<html lang="en">
<title>Background jobs</title>
{% htmx_script %}
<style>.loading { display: none } .htmx-request .loading { display: inline }</style>
<form method="post" hx-post="/" hx-target="#result" hx-select="#result p" hx-disabled-elt="button">
  {% csrf_token %}
  <button>Start Background Job</button> <span class="loading">Loading...</span>
</form>
<div id="result" role="status"><p>{{ message }}</p></div>
</html>"""


def home(request: HttpRequest) -> HttpResponse:
    message = start_job(request) if request.method == "POST" else ""
    return HttpResponse(Template(PAGE).render(RequestContext(request, {"message": message})))


# 2. The click. One request tells the queue what to deliver, and where.


def start_job(request: HttpRequest) -> str:
    destination = request.build_absolute_uri("/api/long-task")
    url = f"{QUEUE['QSTASH_URL']}/v2/publish/{destination}"
    headers = {"Authorization": f"Bearer {QUEUE['QSTASH_TOKEN']}"}
    try:
        response = requests.post(url, headers=headers, json={"hello": "world"}, timeout=10)
        response.raise_for_status()
        return f"Started job with ID {response.json()['messageId']}"
    except (requests.RequestException, KeyError) as error:
        logging.error("publishing failed: %s", error)
        return "Failed to start background job"


# 3. The work. The queue posts the message here; unless the answer is 2xx, it tries again later.


@csrf_exempt
def long_task(request: HttpRequest) -> HttpResponse:
    if not is_signed(request):
        return JsonResponse({"error": "invalid signature"}, status=403)
    for _ in range(10):
        requests.post(TARGET, json=json.loads(request.body), timeout=10)
        time.sleep(0.5)
    return JsonResponse({"success": True})


# Anybody can send a request to /api/long-task, but only the queue has the keys to sign one. The
# signature says who sent which body to which URL, and until when that is valid. After a rotation
# of the keys, the next key is the current one; so a request signed with the next key is accepted.

reader = jwt.PyJWT({"require": ["iss", "sub", "exp", "nbf", "body"]})


def is_signed(request: HttpRequest) -> bool:
    signature = request.headers.get("Upstash-Signature", "")
    url = request.build_absolute_uri()
    body_hash = base64.urlsafe_b64encode(hashlib.sha256(request.body).digest()).decode()
    for key in KEYS:
        with suppress(jwt.InvalidTokenError):
            claims = reader.decode(signature, key, ["HS256"], issuer="Upstash", subject=url)
            return str(claims["body"]).rstrip("=") == body_hash.rstrip("=")
    return False


# What Django needs to serve this file, on this machine only. Hosted QStash reaches the site through
# a tunnel, so the site takes its public address from the request: the Host header, and https if
# the tunnel says so. A site that knows its own address should name it instead, as jobs/ does.
# A local queue's keys are known to everybody, so beside one no other host is served.

urlpatterns = [path("", home), path("api/long-task", long_task)]
settings.configure(
    ALLOWED_HOSTS=["*"] if QUEUE["QSTASH_URL"].startswith("https:") else ["127.0.0.1", "localhost"],
    INSTALLED_APPS=["django.contrib.staticfiles", "django_htmx"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    STATIC_URL="static/",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
logging.basicConfig()
# --insecure: serve htmx's file although DEBUG is off.
execute_from_command_line(["", "runserver", f"127.0.0.1:{environ.get('PORT', 8001)}", "--insecure"])
