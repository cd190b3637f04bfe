"""Allow a process that delivers many open files, before it claims the first message.

Every message in flight needs a socket, and the usual limit of a process is 1,024.
https://docs.python.org/3/library/resource.html
"""

import sys

MOST = 65_536


def allow_many() -> None:
    """Raise this process's limit of open files as far as it may, up to 65,536."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
