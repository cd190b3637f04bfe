"""The queue's pages: `/queue/…`."""

from django.urls import path

from recipes import views

urlpatterns = [
    path("messages", views.placeholder, name="console_messages"),
    path("dead-letters", views.placeholder, name="console_dead_letters"),
    path("queues", views.placeholder, name="console_queues"),
    path("schedules", views.placeholder, name="console_schedules"),
    path("url-groups", views.placeholder, name="console_url_groups"),
]
