"""The publisher of tests/kill_rounds.py: `python -m tests.kill_publisher HOW FILE SEED COUNT`.

HOW is `http` or `inside` (a Django process that stores its messages itself). The moment a
message has been accepted, its id is appended to FILE, in one write that survives this process.
"""

import asyncio
import os
import random
import re
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

QUEUE = "in-order"
MESSAGE_ID = re.compile(rb'"messageId": ?"(msg_\w+)"')
PUBLISHERS = 6
LONGEST_PAUSE_SECONDS = 0.12


def new_headers(choice: random.Random) -> dict[str, str]:
    """A message's options: most are accepted at once, some later, a few never."""
    fails = choice.choices([0, 1, 2, 99], [80, 10, 7, 3])[0]
    return {
        "Upstash-Retries": str(choice.randint(1, 5)),
        "Upstash-Retry-Delay": "50",
        "Upstash-Forward-Fails": str(fails),
        "Upstash-Forward-Takes": str(choice.choice([0, 5, 20, 80, 150])),
    }


def accept(log: int, message_id: str) -> None:
    os.write(log, f"{message_id}\n".encode())


async def publish_over_http(log: int, choice: random.Random, numbers: Iterator[int]) -> None:
    """Publish one publisher's share; without an answer a message does not count as accepted."""
    for _ in numbers:
        reader, writer = await connect()
        try:
            writer.write(request(choice))
            answer = await reader.read()
        except ConnectionError:
            continue
        finally:
            writer.close()
        if found := MESSAGE_ID.search(answer):
            accept(log, found[1].decode())
        assert found or b"\r\n\r\n{" not in answer, answer
        await asyncio.sleep(choice.uniform(0, LONGEST_PAUSE_SECONDS))


async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the site, as soon as it listens."""
    site = urlsplit(os.environ["PUBLIC_URL"])
    while True:
        try:
            return await asyncio.open_connection(site.hostname, site.port)
        except OSError:
            await asyncio.sleep(0.02)


def request(choice: random.Random) -> bytes:
    headers = new_headers(choice) | {
        "Host": urlsplit(os.environ["PUBLIC_URL"]).netloc,
        "Authorization": f"Bearer {os.environ['BROKER_TOKEN']}",
        "Content-Length": "2",
        "Connection": "close",
    }
    where = choice.choices(["publish", f"enqueue/{QUEUE}"], [80, 20])[0]
    if choice.random() < 0.2:
        headers |= {
            "Upstash-Flow-Control-Key": "narrow",
            "Upstash-Flow-Control-Value": "parallelism=3",
        }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v2/{where}/{os.environ['RECEIVER_URL']} HTTP/1.1\r\n{lines}\r\n{{}}".encode()


async def publish_all(log: int, choice: random.Random, count: int) -> None:
    numbers = iter(range(count))
    await asyncio.gather(*(publish_over_http(log, choice, numbers) for _ in range(PUBLISHERS)))


def publish_inside(log: int, choice: random.Random, count: int) -> None:
    """Store messages from inside a process of the site."""
    import django

    django.setup()
    from broker.publishing import publish, read_message

    for _ in range(count):
        message = read_message(os.environ["RECEIVER_URL"], new_headers(choice), b"{}")
        accept(log, publish(message).message_id)


def main() -> None:
    how, file, seed, count = sys.argv[1:]
    log = os.open(file, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    choice = random.Random(seed)  # noqa: S311
    if how == "inside":
        publish_inside(log, choice, int(count))
    else:
        asyncio.run(publish_all(log, choice, int(count)))


if __name__ == "__main__":
    main()
