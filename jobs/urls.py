"""Pages for people, and the two URLs that the queue calls."""

from django.urls import path

from jobs import api, views

urlpatterns = [
    path("", views.home, name="home"),
    path("jobs/start", views.start_job, name="start_job"),
    path("jobs/<slug:job_id>", views.job_detail, name="job_detail"),
    path("jobs/<slug:job_id>/status", views.job_status, name="job_status"),
    path("jobs/<slug:job_id>/send", views.send_again, name="send_again"),
    path("api/long-task", api.long_task, name="long_task"),
    path("api/job-failed", api.job_failed, name="job_failed"),
    path("healthz", views.healthz, name="healthz"),
]
