"""How often somebody has tried to sign in, so that a password cannot be guessed.

No message passes here. The rows are shared by all processes of the site; access.py counts in them.
"""

from django.db import models


class SignIns(models.Model):
    """Attempts to sign in from an address since a moment (unix s); "" counts them all."""

    address = models.CharField(max_length=64, primary_key=True)
    since = models.BigIntegerField()
    attempts = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.address
