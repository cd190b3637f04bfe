"""The queue's pages: `/queue/…`."""

from django.urls import path, re_path

from console import lane_views, letter_views, signing_in, views

urlpatterns = [
    path("messages", views.messages, name="console_messages"),
    path("messages/changes", views.message_changes, name="console_message_changes"),
    path("messages/<str:message_id>", views.message, name="console_message"),
    path(
        "messages/<str:message_id>/changes",
        views.one_message_changes,
        name="console_one_message_changes",
    ),
    path("messages/<str:message_id>/cancel", views.cancel_message, name="console_cancel"),
    path("dead-letters", letter_views.dead_letters, name="console_dead_letters"),
    path("dead-letters/changes", letter_views.letter_changes, name="console_letter_changes"),
    path("dead-letters/take", letter_views.take_dead_letters, name="console_take"),
    path("queues", lane_views.queues, name="console_queues"),
    path("schedules", lane_views.schedules, name="console_schedules"),
    path("url-groups", lane_views.url_groups, name="console_url_groups"),
    re_path(
        "^change/(?P<what>queue|key|schedule|group)$", lane_views.change, name="console_change"
    ),
    path("sign-in", signing_in.sign_in, name="console_sign_in"),
    path("sign-out", signing_in.sign_out, name="console_sign_out"),
]
