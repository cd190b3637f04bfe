"""The tutorial's other examples: one module, one page and one endpoint each."""

from django.urls import path

from recipes import lab, lab_trials, views
from recipes.how_it_works import HowItWorks

urlpatterns = [
    path("email", views.placeholder, name="email"),
    path("image", views.placeholder, name="image"),
    path("schedule", views.placeholder, name="schedule"),
    path("callback", views.placeholder, name="callback"),
    path("url-group", views.placeholder, name="url_group"),
    path("how-it-works", HowItWorks.as_view(), name="how_it_works"),
    path("lab/start", lab.start_with_failure, name="start_with_failure"),
    path("lab/target/<slug:scenario>", lab.target_in_trouble, name="lab_target"),
    path("lab/<slug:job_id>", lab_trials.lab_trial, name="lab_trial"),
    path("lab/<slug:job_id>/deliver", lab_trials.deliver_again, name="deliver_again"),
    path("lab/<slug:job_id>/forge", lab_trials.forge_signature, name="forge_signature"),
    path("lab/<slug:job_id>/retry", lab_trials.retry_dead_letter, name="retry_dead_letter"),
]
