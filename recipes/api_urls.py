"""Endpoints of the examples below `/api/` that are not tasks."""

from django.urls import path

from recipes import callbacks, mailing, uploading

urlpatterns = [
    path("start-email-job", mailing.start_email_job, name="start_email_job"),
    path("upload-image", uploading.upload_image, name="upload_image"),
    path("callback", callbacks.receive_callback, name="receive_callback"),
]
