"""Ids that cannot be guessed, in the forms that QStash gives them."""

import secrets

from broker.clock import now_ms


def new_id(prefix: str) -> str:
    """An id such as `sig_0f3a…`: 112 random bits."""
    return f"{prefix}_{secrets.token_hex(14)}"


def new_message_id() -> str:
    """A message's id: the time, then 96 random bits.

    Ids that grow with time are close together in their index, so storing a message costs the
    same however many there are.
    """
    return f"msg_{now_ms():012x}{secrets.token_hex(12)}"
