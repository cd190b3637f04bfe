"""Delete uploads for their age, and their files with them.

No message passes here. The queue's sweep (broker/retention.py) calls `sweep` every minute, and
again at once while there is more to delete.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from recipes.models import Upload

# Other writes wait meanwhile, and each upload has three files, perhaps on another machine.
AT_ONCE = 5


def sweep(now: int) -> bool:
    """Delete a few uploads at most; whether there may be more. `now` is in unix ms."""
    before = datetime.fromtimestamp(now / 1000, UTC) - timedelta(days=settings.UPLOAD_DAYS)
    old = Upload.objects.older_than(before).order_by("created_at")
    ids = list(old.values_list("id", flat=True)[:AT_ONCE])
    Upload.objects.filter(id__in=ids).delete()
    return len(ids) == AT_ONCE
