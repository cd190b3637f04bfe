"""The small job: its row says `succeeded` as soon as it returns."""

from django.tasks import task


@task()
async def small() -> None:
    pass
