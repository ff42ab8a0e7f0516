"""What statsmodels' results or those of another model have, and these cannot have."""

from __future__ import annotations

from typing import Any


class Unavailable:
    """An attribute without a meaning here: asked for, it says why.

    Parameters
    ----------
    why : str
        A sentence, and what to use instead.
    """

    def __init__(self, why: str) -> None:
        self.why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Unavailable:
        if instance is None:
            return self
        raise AttributeError(f"{type(instance).__name__} has no {self.name!r}: {self.why}")


def available(owner: type, names: list[str]) -> list[str]:
    """Names without those that are `Unavailable` in a class."""
    return [n for n in names if not isinstance(getattr(owner, n, None), Unavailable)]
