"""The site's URLs."""

from django.urls import include, path

from jobsite.health import healthz
from operations.metrics import metrics

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("metrics", metrics, name="metrics"),
    path("", include("operations.urls")),
    path("", include("recipes.urls")),  # first: its /api/… are not tasks
    path("", include("jobs.urls")),
    path("queue/", include("console.urls")),
    path("catcher/", include("catcher.urls")),
    path("v2/", include("broker.urls")),
]
