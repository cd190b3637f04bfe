"""The map of `/v2/`, the protocol that QStash's SDKs speak."""

from django.urls import path, re_path

from broker.api.events import list_events
from broker.api.publish import publish_message

urlpatterns = [
    re_path(r"^publish/", publish_message),
    path("events", list_events),
]
