"""The URLs that the queue calls, one for each task, and pages for people."""

from django.urls import path

from jobs import receiving, views

urlpatterns = [
    path("api/job-failed", receiving.job_failed, name="job_failed"),
    path("api/<slug:endpoint>", receiving.receive, name="receive"),  # /api/long-task
    path("", views.home, name="home"),
    path("jobs/start", views.start_job, name="start_job"),
    path("jobs/started", views.started_job, name="started_job"),
    path("jobs/changes", views.job_changes, name="job_changes"),
    path("jobs/<slug:job_id>", views.job_detail, name="job_detail"),
    path("jobs/<slug:job_id>/changes", views.job_detail_changes, name="job_detail_changes"),
    path("jobs/<slug:job_id>/publish", views.publish_again, name="publish_again"),
    path("jobs/<slug:job_id>/cancel", views.cancel_job, name="cancel_job"),
]
