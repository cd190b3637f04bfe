"""`{% lab %}`: the failure lab's form, above the button of the home page.

No message passes here.
"""

from typing import Any

from django import template

from recipes.lab import SCENARIOS

register = template.Library()


@register.inclusion_tag("recipes/lab.html", takes_context=True)
def lab(context: template.Context) -> dict[str, Any]:
    """The choice of what goes wrong, by where it does."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, scenario in SCENARIOS.items():
        groups.setdefault(scenario.where, []).append((name, scenario.label))
    return {
        "groups": groups.items(),
        "queue": context.get("queue"),
        "csrf_token": context.get("csrf_token"),
    }
