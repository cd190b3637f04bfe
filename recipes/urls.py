"""The pages of the tutorial's other examples; their endpoints are in api_urls.py."""

from django.urls import path, re_path

from recipes import (
    callbacks,
    delays,
    lab,
    lab_trials,
    mailing,
    schedule_pages,
    uploading,
    url_groups,
)
from recipes.how_it_works import HowItWorks

urlpatterns = [
    path("email", mailing.email, name="email"),
    path("email/<slug:job_id>/changes", mailing.email_changes, name="email_changes"),
    path("image", uploading.image, name="image"),
    path("image/<slug:job_id>/changes", uploading.image_changes, name="image_changes"),
    path("images/<slug:image_id>/<slug:kind>", uploading.picture, name="picture"),
    path("lab/start", lab.start_with_failure, name="start_with_failure"),
    path("lab/target/<slug:scenario>", lab.target_in_trouble, name="lab_target"),
    path("lab/<slug:job_id>", lab_trials.lab_trial, name="lab_trial"),
    path("lab/<slug:job_id>/deliver", lab_trials.deliver_again, name="deliver_again"),
    path("lab/<slug:job_id>/forge", lab_trials.forge_signature, name="forge_signature"),
    path("lab/<slug:job_id>/retry", lab_trials.retry_dead_letter, name="retry_dead_letter"),
    path("delay", delays.delay, name="delay"),
    path("delay/changes", delays.delay_changes, name="delay_changes"),
    path("delay/start", delays.start_delayed, name="start_delayed"),
    path("schedule", schedule_pages.schedule, name="schedule"),
    path("schedule/changes", schedule_pages.schedule_changes, name="schedule_changes"),
    path("schedule/read", schedule_pages.read_cron, name="read_cron"),
    path("schedule/start", schedule_pages.start_schedule, name="start_schedule"),
    path("schedule/<int:number>/run", schedule_pages.run_schedule, name="run_schedule"),
    re_path(
        r"^schedule/(?P<number>[1-9])/(?P<action>pause|resume|delete)$",
        schedule_pages.change_schedule,
        name="change_schedule",
    ),
    path("callback", callbacks.callback, name="callback"),
    path("callback/changes", callbacks.callback_changes, name="callback_changes"),
    path("callback/start", callbacks.start_with_callback, name="start_with_callback"),
    path("url-group", url_groups.url_group, name="url_group"),
    path("url-group/changes", url_groups.url_group_changes, name="url_group_changes"),
    path("url-group/start", url_groups.start_order, name="start_order"),
    path("how-it-works", HowItWorks.as_view(), name="how_it_works"),
]
