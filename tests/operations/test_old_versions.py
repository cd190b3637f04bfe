"""The version before, on today's tables: while a deployment goes on, it still serves.

Migrations run first, then the web processes are replaced one by one. So models as they were then
store, read, change and delete rows in the tables as they are now.
"""

import datetime
import itertools
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.db.migrations.loader import MigrationLoader

# What the oldest version had that may still run beside today's. Move it on with each version that
# is deployed; the two newest migrations of an app always come later, unless they created it.
THEN = {
    "broker": "0002_the_whole_protocol",
    "catcher": "0001_initial",
    "console": "0001_initial",
    "jobs": "0003_what_pages_show",
    "recipes": "0001_mails_and_uploads",
}
# This one made the queue anew, before anybody had deployed it.
REWRITTEN = {"broker": "0002_the_whole_protocol"}
numbers = itertools.count()
VALUES: dict[type, Any] = {
    models.BinaryField: b"x",
    models.BooleanField: True,
    models.CharField: "",  # each row its own
    models.DateField: datetime.date(2026, 1, 1),
    models.DateTimeField: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    models.FloatField: 1.0,
    models.JSONField: [1],
    models.TextField: "x",
}


def migrations_of(app: str) -> list[str]:
    loader = MigrationLoader(None)
    return sorted(name for label, name in loader.disk_migrations if label == app)


def models_then(app: str) -> list[Any]:
    """The models of an app as the version before has them."""
    nodes = [node for node in THEN.items() if apps.is_installed(node[0])]
    state = MigrationLoader(None).project_state(nodes)
    return list(state.apps.get_app_config(app).get_models())


def new_row(model: Any) -> Any:
    """An unsaved row with a value for each field that has no default of its own."""
    given: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey):
            given[field.name] = new_row(field.related_model)
            given[field.name].save()
        elif not (field.has_default() or field.null or field.blank):
            kinds = [kind for kind in VALUES if isinstance(field, kind)]
            given[field.name] = (VALUES[kinds[0]] if kinds else 1) or f"x{next(numbers)}"
    return model(**given)


@pytest.mark.django_db
@pytest.mark.parametrize("app", THEN)
def test_version_before_stores_reads_changes_and_deletes(app):
    found = models_then(app)
    assert found
    for model in found:
        row = new_row(model)
        row.save(force_insert=True)
        read = model.objects.get(pk=row.pk)
        read.save(force_update=True)
        assert model.objects.filter(pk=row.pk).delete()[0] >= 1


@pytest.mark.parametrize("app", THEN)
def test_two_newest_migrations_are_among_those_that_are_tested(app):
    names = migrations_of(app)
    later = names[names.index(THEN[app]) + 1 :]
    assert len(later) >= 2 or THEN[app] == names[0] or THEN[app] == REWRITTEN.get(app)


def test_every_app_with_tables_is_tested():
    ours = {app.label for app in apps.get_app_configs() if migrations_of(app.label)}
    assert ours == THEN.keys()
