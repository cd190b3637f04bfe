"""How fast the embedded queue is, and what its growth costs: `uv run benchmarks/queue.py`.

Real processes on an empty database: gunicorn, dispatchers, a publisher, a sink that costs next
to nothing; every commit is flushed to disk. Each measurement prints a table; `short` stands
beside a figure that misses its target. `--only NAME` runs one of them, `--quick` all of them
with small numbers, `--database postgresql` on a server of this run's own.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent.absolute()
# This file has the name of a standard module, which nobody must get this one for.
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if path != str(HERE))]

if __name__ == "__main__":
    from benchmarks.queue_measurements import main

    main()
else:
    del sys.modules[__name__]
    import queue  # noqa: F401  (for long_task.py, in whose folder Python finds this file first)
