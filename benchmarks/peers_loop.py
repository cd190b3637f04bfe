"""The work of N long tasks in one event loop: `python -m benchmarks.peers_loop COUNT URL`.

No queue, no database, no framework: what is left is what the requests and pauses cost.
"""

import asyncio
import json
import resource
import sys
import time

import aiohttp


async def work(http: aiohttp.ClientSession, target_url: str) -> None:
    for _ in range(10):
        async with http.post(target_url, data=b'{"hello": "world"}') as answer:
            await answer.read()
            assert answer.status == 200, answer.status
        await asyncio.sleep(0.5)


async def main() -> None:
    count, target_url = int(sys.argv[1]), sys.argv[2]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        began = time.monotonic()
        await asyncio.gather(*(work(http, target_url) for _ in range(count)))
        makespan = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"makespan": makespan, "cpu": used.ru_utime + used.ru_stime}))


asyncio.run(main())
