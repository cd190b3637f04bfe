"""Text of strangers for people: file names and addresses.

No message passes here.
"""

LONGEST = 60


def shown(text: str) -> str:
    """A text that is cut, and without the characters that turn or hide other text."""
    visible = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return visible if len(visible) <= LONGEST else f"{visible[: LONGEST - 1]}…"
