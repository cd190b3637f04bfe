"""The tutorial's other examples: one module, one page and one endpoint each."""

from django.urls import path

from recipes import mailing, views

urlpatterns = [
    path("email", mailing.email, name="email"),
    path("email/<slug:job_id>/changes", mailing.email_changes, name="email_changes"),
    path("api/start-email-job", mailing.start_email_job, name="start_email_job"),
    path("image", views.placeholder, name="image"),
    path("schedule", views.placeholder, name="schedule"),
    path("callback", views.placeholder, name="callback"),
    path("url-group", views.placeholder, name="url_group"),
    path("how-it-works", views.placeholder, name="how_it_works"),
]
