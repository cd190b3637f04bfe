"""An account's signing keys after a rotation; until the first one they are in the settings.

The dispatcher signs with the current key just before each POST.
"""

from django.db import models


class SigningKeys(models.Model):
    """An account's rotated keys, for as long as its configured key stays the same."""

    account = models.CharField(max_length=64, primary_key=True)
    configured = models.CharField(max_length=255, help_text="the current key of the settings")
    current = models.CharField(max_length=255)
    next = models.CharField(max_length=255)

    def __str__(self) -> str:
        return self.account
