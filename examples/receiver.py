"""Receive the queue's messages: check the signature, do the work, answer with a status."""

import base64
import hashlib
import hmac
import json
import logging
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

# The signature's rules: https://upstash.com/docs/qstash/howto/signature
KEYS = [os.environ["QSTASH_CURRENT_SIGNING_KEY"], os.environ["QSTASH_NEXT_SIGNING_KEY"]]
BASE_URL = os.environ.get("BASE_URL", "http://127.0.0.1:3000")  # as in the URLs published to
CLAIMS = ["iss", "sub", "exp", "nbf", "body"]
done: set[str] = set()  # your application keeps these ids in its database, with its work


def is_signed(token: str, body: bytes, url: str) -> bool:
    """Whether the queue has just signed this body for this URL."""
    for key in KEYS:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                issuer="Upstash",
                subject=url,
                leeway=5,
                options={"require": CLAIMS},
            )
        except jwt.InvalidSignatureError:
            continue  # perhaps it was made with the next key
        except jwt.InvalidTokenError:
            return False
        digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")
        return hmac.compare_digest(str(claims["body"]).encode().rstrip(b"="), digest)
    return False


def work(message: dict[str, str]) -> None:
    """Your work; if it raises, the queue sends the message again."""
    logging.info("hello, %s", message["hello"])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Upstash-Signature", "")
        if not is_signed(token, body, BASE_URL + self.path):
            self.answer(403)
        elif self.headers["Upstash-Message-Id"] in done:
            self.answer(200)
        else:
            self.receive(self.headers["Upstash-Message-Id"], body)

    def receive(self, message_id: str, body: bytes) -> None:
        try:
            message = json.loads(body)
        except ValueError:
            self.answer(489, {"Upstash-NonRetryable-Error": "true"})
            return
        try:
            work(message)
        except Exception:
            logging.exception("cannot work on %s", message_id)
            self.answer(500)
        else:
            done.add(message_id)
            self.answer(200)

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port = int(os.environ.get("PORT", "3000"))
    ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()
