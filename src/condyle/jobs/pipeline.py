"""While one piece of a batch is worked on, the next is read and the last one written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from condyle.errors import CondyleError

__all__ = ["ahead", "failing_alone", "one_behind"]

T = TypeVar("T")


def ahead(readers: Mapping[str, Callable[[], T]]) -> Iterator[tuple[str, Future[T]]]:
    """Each name and what is read for it; the next one is read meanwhile."""
    with ThreadPoolExecutor(1, "reading") as pool:
        coming: tuple[str, Future[T]] | None = None
        for name, reader in readers.items():
            following = name, pool.submit(reader)
            if coming:
                yield coming
            coming = following
        if coming:
            yield coming


@contextmanager
def one_behind(failed: dict[str, str]) -> Generator[Callable[[str, Callable[[], None]], None]]:
    """What starts a named piece of work and lets it go on meanwhile, once the one before is done.

    After the block all is done. What fails is put under its name.
    """
    with ThreadPoolExecutor(1, "writing") as pool:
        before: list[tuple[str, Future[None]]] = []

        def finish() -> None:
            while before:
                name, future = before.pop()
                with failing_alone(name, failed):
                    future.result()

        def behind(name: str, work: Callable[[], None]) -> None:
            finish()
            before.append((name, pool.submit(work)))

        yield behind
        finish()


@contextmanager
def failing_alone(name: str, failed: dict[str, str]) -> Generator[None]:
    """What goes wrong inside is put under its name, and the others go on."""
    try:
        yield
    except CondyleError as error:
        failed[name] = str(error)
    except (MemoryError, RuntimeError) as error:  # torch says RuntimeError where memory ends
        words = str(error).splitlines() or [""]
        failed[name] = f"{type(error).__name__}: {words[0]}"
