"""The sender's half of the signature: made for every attempt, just before the POST.

The receiver's half is in jobs/signatures.py. Claims as in QStash's documentation:
https://upstash.com/docs/qstash/features/security
"""

import base64
import hashlib

import jwt

from broker.ids import new_id

VALID_SECONDS = 300


def sign(url: str, body: bytes, key: str, now_seconds: int) -> str:
    """Return a JWT (HS256) for this body and URL, valid for five minutes."""
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
    """Return the SHA-256 of the body in padded base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
