"""Find every page of a site, as a visitor does: by following its links.

A page is known by the name of its URL. One of each name is found, starting from the pages whose
URL needs no argument: so a page that is new is looked at without being listed anywhere.
"""

import re
from collections import deque
from html import unescape
from urllib.parse import urljoin, urlsplit

from harness.visitor import Visitor

LINK = re.compile(r'<a\b[^>]*?\shref="([^"]+)"')


def url_names() -> set[str]:
    """The names of all URLs of the site, whether a page answers there or not."""
    from django.urls import get_resolver

    return {name for name in get_resolver().reverse_dict if isinstance(name, str)}


def pages_of(visitor: Visitor) -> dict[str, str]:
    """A path for each page that the visitor can reach, by the name of its URL."""
    from django.urls import NoReverseMatch, Resolver404, resolve, reverse

    def name_of(path: str) -> str:
        try:
            return resolve(path).url_name or ""
        except Resolver404:
            return ""

    paths = deque([reverse("home")])
    for name in sorted(url_names()):
        try:
            paths.append(reverse(name))
        except NoReverseMatch:
            continue  # it needs an argument, so a link must lead to it
    seen, pages = {""}, dict[str, str]()
    while paths:
        path = paths.popleft()
        if (name := name_of(path)) in seen:
            continue
        seen.add(name)
        if text := html_at(visitor, path):
            pages[name] = path
            links = [unescape(link) for link in LINK.findall(text)]
            paths += [to for link in links if (to := path_on_site(visitor, path, link))]
    return pages


def html_at(visitor: Visitor, path: str) -> str:
    """The page at a path, or nothing if that is none: an action, a stream, a part of one."""
    headers = {"Accept": "text/html"}
    with visitor.http.get(visitor.url + path, headers=headers, timeout=30, stream=True) as answer:
        is_html = answer.headers.get("Content-Type", "").startswith("text/html")
        text = answer.text if answer.status_code == 200 and is_html else ""
        return text if text.lstrip().lower().startswith("<!doctype") else ""


def path_on_site(visitor: Visitor, page: str, link: str) -> str:
    """The path that a link on a page leads to, or nothing if it leads to another site."""
    url = urljoin(visitor.url + page, link)
    return urlsplit(url).path if url.startswith(f"{visitor.url}/") else ""
