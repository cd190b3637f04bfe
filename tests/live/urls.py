"""A site with one live page: a bin, as the catcher's tests need no page for it."""

from django.http import Http404, HttpRequest
from django.urls import include, path

from catcher.models import Entry
from live.views import News, live


@live(lambda request, name: [f"bin:{name}"])
async def bin_changes(request: HttpRequest, since: str, name: str) -> News | None:
    """The number of a bin's entries; the page's version is that number."""
    if name == "gone":
        raise Http404
    count = str(await Entry.objects.bin(name).acount())
    return None if count == since else News(f'<p id="count" hx-swap-oob="true">{count}</p>', count)


urlpatterns = [path("bins/<name>/changes", bin_changes), path("", include("jobsite.urls"))]
