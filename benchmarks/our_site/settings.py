"""Our site with one more task, as a user adds one: see tasks.py."""

from jobsite.settings import *  # noqa: F403
from jobsite.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.our_site"]
