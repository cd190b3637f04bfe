"""How many files a process may open."""

import sys

import pytest

from broker.open_files import MOST, allow_many

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")


def test_limit_is_raised_as_far_as_it_may():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), hard))
    try:
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
