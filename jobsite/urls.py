"""The site's URLs."""

from django.urls import include, path

from jobsite.health import healthz
from operations.metrics import metrics

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("metrics", metrics, name="metrics"),
    # Django tries one after the other: what a message is delivered to comes early.
    path("api/", include("recipes.api_urls")),  # before the tasks
    path("", include("jobs.urls")),
    path("", include("operations.urls")),
    path("", include("recipes.urls")),
    path("queue/", include("console.urls")),
    path("catcher/", include("catcher.urls")),
    path("v2/", include("broker.urls")),
]
