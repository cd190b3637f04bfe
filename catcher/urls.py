"""`/catcher/<name>/` and every path under it."""

from django.urls import path, register_converter
from django.urls.converters import SlugConverter

from catcher.pane import bin_pane
from catcher.views import catch


class BinNameConverter(SlugConverter):
    """Letters, digits, `-` and `_`, at most as many as the column holds."""

    regex = "[-a-zA-Z0-9_]{1,64}"


register_converter(BinNameConverter, "bin")

urlpatterns = [
    path("", catch, {"name": "hello"}, name="catcher"),
    path("~/<bin:name>/pane", bin_pane, name="bin_pane"),
    path("<bin:name>/", catch, name="bin"),
    path("<bin:name>/<path:rest>", catch),
]
