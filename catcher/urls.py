"""`/catcher/<name>/` and everything below it."""

from django.urls import path

from catcher.views import catch

urlpatterns = [
    path("<slug:name>/", catch, name="bin"),
    path("<slug:name>/<path:rest>", catch),
]
