"""URL groups: one name, several endpoints.

A message published to a group becomes one message for each endpoint (publishing.py), and from
then on they are independent.
"""

from django.db import models

from broker.clock import now_ms


class UrlGroup(models.Model):
    """A named list of endpoints; `header` holds default options, {name: [value, …]}."""

    account = models.CharField(max_length=64)
    name = models.CharField(max_length=255)
    created_at = models.BigIntegerField(default=now_ms)
    updated_at = models.BigIntegerField(default=now_ms)
    header = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "name"], name="one_url_group")]

    def __str__(self) -> str:
        return self.name


class Endpoint(models.Model):
    """Where a group's messages go; its name is optional."""

    group = models.ForeignKey(UrlGroup, on_delete=models.CASCADE, related_name="endpoints")
    url = models.TextField()
    name = models.CharField(max_length=255, blank=True)

    def __str__(self) -> str:
        return self.name or self.url
