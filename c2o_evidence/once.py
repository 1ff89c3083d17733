"""What a value that does not change computes once for each of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class Caching(Protocol):
    """An object with a place for what it has computed."""

    @property
    def _cache(self) -> dict[Any, Any]: ...


S = TypeVar("S", bound=Caching)
P = ParamSpec("P")
T = TypeVar("T")


def once(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that works once for each of its arguments: a suite does not change, and has thousands of jobs."""

    @wraps(method)
    def known(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (method.__name__, *args, *kwargs.items())
        if key not in self._cache:
            self._cache[key] = method(self, *args, **kwargs)
        result: T = self._cache[key]
        return result

    return known
