"""Change a URL group: its endpoints, and the options its messages have by default.

Publishing reads a group once, when a message for it arrives; messages that are stored already
are not changed. A group exists as long as it has an endpoint.
"""

from typing import NamedTuple

from django.conf import settings
from django.db.models import QuerySet

from broker.changes import refusable
from broker.errors import LimitReached, NotFound
from broker.models import Endpoint, UrlGroup

# A URL to check options with that belong to no single URL.
ANY_URL = "https://url.of.an.endpoint/"


class EndpointChange(NamedTuple):
    """An endpoint to add or remove; one of the two may be empty."""

    url: str
    name: str


class GroupChange(NamedTuple):
    """Whose group, and how it changes, at a moment in unix ms."""

    account: str
    name: str
    now: int
    endpoints: tuple[EndpointChange, ...] = ()
    header: dict[str, list[str]] | None = None

    def group(self) -> QuerySet[UrlGroup]:
        return UrlGroup.objects.filter(account=self.account, name=self.name)

    def locked_group(self) -> UrlGroup:
        """The group, locked until the end of the transaction; NotFound if it is not there."""
        if not (group := self.group().select_for_update().first()):
            raise NotFound(f"there is no URL group {self.name!r}")
        return group


@refusable
def add_endpoints(change: GroupChange) -> None:
    """Add endpoints or change them, and make the group if it is missing.

    LimitReached if there are too many groups, or too many endpoints in this one.
    """
    group = UrlGroup(
        account=change.account, name=change.name, created_at=change.now, updated_at=change.now
    )
    UrlGroup.objects.bulk_create(
        [group],
        update_conflicts=True,
        unique_fields=["account", "name"],
        update_fields=["updated_at"],
    )
    for endpoint in change.endpoints:
        add_endpoint(group, endpoint)
    if UrlGroup.objects.filter(account=change.account).count() > settings.BROKER_URL_GROUPS:
        raise LimitReached(f"quota maxUrlGroups exceeded: {settings.BROKER_URL_GROUPS}")
    if group.endpoints.count() > settings.BROKER_ENDPOINTS:
        raise LimitReached(f"quota maxEndpoints exceeded: {settings.BROKER_ENDPOINTS}")


def add_endpoint(group: UrlGroup, change: EndpointChange) -> None:
    """An endpoint of this name gets the URL, else one of this URL the name; else it is new."""
    url, name = change
    if name and group.endpoints.filter(name=name).update(url=url):
        return
    same = group.endpoints.filter(url=url)
    if not (same.update(name=name) if name else same.exists()):
        Endpoint.objects.create(group=group, url=url, name=name)


@refusable
def remove_endpoints(change: GroupChange) -> None:
    """Remove endpoints by name or URL, and the group with the last one; NotFound without it."""
    group = change.locked_group()
    for url, name in change.endpoints:
        given = {"url": url, "name": name}
        group.endpoints.filter(**{field: value for field, value in given.items() if value}).delete()
    if group.endpoints.exists():
        change.group().update(updated_at=change.now)
    else:
        group.delete()


@refusable
def set_header(change: GroupChange) -> None:
    """Replace a group's default options; NotFound without the group."""
    group = change.locked_group()
    group.header, group.updated_at = change.header or {}, change.now
    group.save(update_fields=["header", "updated_at"])


@refusable
def delete(change: GroupChange) -> None:
    """Delete a group with its endpoints, if it is there."""
    change.group().delete()
