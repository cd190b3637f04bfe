"""Huey's tasks; its worker finds them here."""

import os

if os.environ.get("PEER") == "huey":
    from huey.contrib.djhuey import task

    from benchmarks.peer_site import work

    small = task()(work.small)
    long = task()(work.long)
