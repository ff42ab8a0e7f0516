"""One way to look up a named option, with an error that says what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from metareg_sm.exceptions import OptionError
from metareg_sm.stats.reference import check_alpha

__all__ = [
    "check_alpha",
    "check_keywords",
    "choose",
    "finite_number",
    "generator",
    "position",
    "suggestion",
    "whole_number",
]

T = TypeVar("T")


def position(name: str, names: Sequence[str], argument: str) -> int:
    """Position of a name among the user's own, in which case matters.

    Raises
    ------
    OptionError
        If it is not among them; it lists them.
    """
    if name in names:
        return list(names).index(name)
    raise OptionError(
        f"{argument}={name!r} is not known.{suggestion(name, names)} There are {', '.join(names)}."
    )


def suggestion(name: object, known: Iterable[str]) -> str:
    """' Did you mean ...?' where something known is close to `name`, else an empty string."""
    close = difflib.get_close_matches(str(name).lower(), [str(k) for k in known], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def choose(table: Mapping[str, T], name: object, argument: str) -> T:
    """Entry of a registry by name, whatever its case.

    Parameters
    ----------
    table : mapping
        Registry with lower-case names.
    name : object
        What the user gave.
    argument : str
        The argument it was given to, for the error.

    Returns
    -------
    object
        The entry.

    Raises
    ------
    OptionError
        If there is no such name.

    Examples
    --------
    >>> choose({"reml": 1}, "REML", "tau2")
    1
    """
    if isinstance(name, str):
        found = table.get(name.lower())
        if found is not None:
            return found
    # entries have aliases: list each once, by its own name
    known = dict.fromkeys(
        str(getattr(entry, "name", entry if isinstance(entry, str) else key))
        for key, entry in table.items()
    )
    names = ", ".join(repr(n) for n in known)
    from metareg_sm.words import answer

    advice = answer(argument, name) or suggestion(name, table)
    raise OptionError(f"{argument}={name!r} is not known.{advice} Choose one of {names}.")


def check_keywords(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Refuse keywords that nothing would read.

    Raises
    ------
    OptionError
        If a given keyword is not allowed.
    """
    allowed = list(allowed)
    unknown = [k for k in given if k not in allowed]
    if unknown:
        from metareg_sm.words import answer

        advice = answer("keyword", unknown[0]) or suggestion(unknown[0], allowed)
        raise OptionError(
            f"{where} got an unknown keyword {unknown[0]!r}.{advice} It takes "
            f"{', '.join(allowed) if allowed else 'no further keywords'}."
        )


def whole_number(n: Any, argument: str, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> whole_number(999, "n_resamples")
    999
    """
    whole = isinstance(n, Integral) and not isinstance(n, (bool, np.bool_))
    if not whole or n < least:
        raise OptionError(f"{argument} must be a whole number of at least {least}; got {n!r}.")
    return int(n)


def finite_number(value: Any, argument: str, least: float = -np.inf, above: bool = False) -> float:
    """A finite number, at least `least` or (with `above`) greater than it.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> finite_number(0.1, "tau2", least=0.0)
    0.1
    """
    real = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if not real or not np.isfinite(value) or value < least or (above and value == least):
        bound = "" if least == -np.inf else f" {'>' if above else '>='} {least:g}"
        raise OptionError(f"{argument} must be a finite number{bound}; got {value!r}.")
    return float(value)


def flag(value: Any, argument: str) -> bool:
    """True or False.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{argument} must be True or False; got {value!r}.")
    return bool(value)


def flag_or_none(value: Any, argument: str) -> bool | None:
    """True, False or None.

    Raises
    ------
    OptionError
        If it is none of them.
    """
    if value is not None and not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{argument} must be True, False or None; got {value!r}.")
    return value if value is None else bool(value)


def generator(rng: Any) -> np.random.Generator:
    """The random numbers that a seed, a generator or None (a new one) stands for.

    Raises
    ------
    OptionError
        If it is none of them.

    Examples
    --------
    >>> bool(generator(1).random() == generator(1).random())
    True
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"rng must be None, a whole number of at least 0 or a numpy Generator; got {rng!r}."
        ) from error
