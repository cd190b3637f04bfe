"""`/catcher/<name>/` and every path under it; the pages' own URLs are under `/catcher/~/`."""

from django.urls import path, register_converter
from django.urls.converters import SlugConverter

from catcher import actions, pages
from catcher.views import catch, no_bin


class BinNameConverter(SlugConverter):
    """Letters, digits, `-` and `_`, at most as many as the column holds; so `~` is none."""

    regex = "[-a-zA-Z0-9_]{1,64}"


class EntryIdConverter:
    """A number that fits into the column."""

    regex = "[0-9]{1,17}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


class AnythingConverter:
    """The rest of a path, also if it has line breaks."""

    regex = "(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(AnythingConverter, "anything")
register_converter(BinNameConverter, "bin")
register_converter(EntryIdConverter, "entry")

urlpatterns = [
    path("", pages.catcher, name="catcher"),
    path("~/new", actions.make_bin, name="make_bin"),
    path("~/<bin:name>/changes", pages.bin_changes, name="bin_changes"),
    path("~/<bin:name>/answer", actions.bin_answer, name="bin_answer"),
    path("~/<bin:name>/clear", actions.clear_bin, name="clear_bin"),
    path("~/<bin:name>/requests.json", actions.download, name="bin_download"),
    path("~/<bin:name>/<entry:entry_id>", pages.caught, name="caught"),
    path("~/<bin:name>/<entry:entry_id>/body", pages.caught_body, name="caught_body"),
    path("~/<bin:name>/<entry:entry_id>/replay", actions.replay, name="replay"),
    path("<bin:name>", catch),
    path("<bin:name>/", catch, {"rest": ""}, name="bin"),
    path("<bin:name>/<anything:rest>", catch),
    path("<anything:rest>", no_bin),
]
