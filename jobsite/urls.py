"""The site's map."""

from django.urls import include, path

urlpatterns = [
    path("", include("jobs.urls")),
    path("catcher/", include("catcher.urls")),
    path("v2/", include("broker.urls")),
]
