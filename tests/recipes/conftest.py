"""What the examples' tests share: the strangers that the jobs' tests have, too."""

from tests.jobs.conftest import cloud, hosted, running_cloud, running_sink, sink

__all__ = ["cloud", "hosted", "running_cloud", "running_sink", "sink"]
