"""The site's URLs."""

from django.urls import include, path

from jobsite.health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("", include("jobs.urls")),
    path("", include("recipes.urls")),
    path("queue/", include("console.urls")),
    path("catcher/", include("catcher.urls")),
    path("v2/", include("broker.urls")),
]
