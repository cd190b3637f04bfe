"""The sender's half of the signature: made anew for every attempt, just before the POST.

The receiver's half is in jobs/signatures.py. Claims as in QStash's documentation:
https://upstash.com/docs/qstash/features/security
"""

import base64
import hashlib

import jwt

from broker.ids import new_id

VALID_SECONDS = 300


def sign(url: str, body: bytes, key: str, now_seconds: int) -> str:
    """A JWT (HS256) that says: this body, for this URL, for the next five minutes."""
    claims = {
        "iss": "Upstash",
        "sub": url,
        "exp": now_seconds + VALID_SECONDS,
        "nbf": 0,
        "iat": now_seconds,
        "jti": new_id("jwt"),
        "body": body_hash(body),
    }
    return jwt.encode(claims, key, algorithm="HS256")


def body_hash(body: bytes) -> str:
    """The SHA-256 of the body in base64url, padded."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
