"""How fast the embedded queue delivers, and what growth costs: `uv run benchmarks/deliveries.py`.

Real processes on an empty database: gunicorn, dispatchers, a publisher, a sink that costs next
to nothing; every commit is flushed to disk. Each measurement prints a table; the last lines name
the limits that were missed. `--only NAME` runs one of them, `--quick` all of them with small
numbers, `--database postgresql` on a server of this run's own.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.alone import add_option, refuse_beside_others
from benchmarks.deliveries_measurements import HELD_SECONDS, MEASUREMENTS
from benchmarks.deliveries_site import database_server
from benchmarks.figures import Figure, show, show_missed
from harness.processes import exit_on_sigterm


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="everything, with small numbers")
    parser.add_argument("--messages", type=int, default=5000, help="publish, end-to-end")
    parser.add_argument("--singles", type=int, default=200, help="latency")
    parser.add_argument("--delivered", type=int, default=1_000_000, help="growth")
    parser.add_argument("--waiting", type=int, default=100_000, help="growth")
    parser.add_argument("--turns", type=int, default=20, help="growth")
    parser.add_argument("--deliveries", type=int, default=100_000, help="memory")
    parser.add_argument("--held", type=int, default=1000, help="held")
    add_option(parser)
    options = parser.parse_args()
    refuse_beside_others(options)
    options.hold = HELD_SECONDS
    if options.quick:
        options.messages, options.singles, options.deliveries = 300, 10, 1000
        options.delivered, options.waiting, options.turns = 10_000, 1000, 1
        options.held, options.hold = 50, 0.3
    return options


def main() -> None:
    exit_on_sigterm()
    options = read_options()
    began = time.time()
    every_figure: list[Figure] = []
    with database_server(options.database) as server:
        for name in options.only or MEASUREMENTS:
            title, measure = MEASUREMENTS[name]
            figures = measure(server, options)
            show(title.format(**vars(options)), figures, options.database)
            every_figure += figures
    show_missed(every_figure)
    if options.quick:
        print("These numbers are too small to judge by: --quick only tries everything once.")
    print(f"\nall of it took {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
