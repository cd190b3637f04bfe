"""Pages for people, and the URLs that the queue calls: one for each task."""

from django.urls import path

from jobs import receiving, views

urlpatterns = [
    path("", views.home, name="home"),
    path("jobs/start", views.start_job, name="start_job"),
    path("jobs/<slug:job_id>", views.job_detail, name="job_detail"),
    path("jobs/<slug:job_id>/status", views.job_status, name="job_status"),
    path("jobs/<slug:job_id>/publish", views.publish_again, name="publish_again"),
    path("jobs/<slug:job_id>/cancel", views.cancel_job, name="cancel_job"),
    path("api/job-failed", receiving.job_failed, name="job_failed"),
    path("api/<slug:endpoint>", receiving.receive, name="receive"),  # /api/long-task
]
