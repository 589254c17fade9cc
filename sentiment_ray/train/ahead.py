"""Computes the next item of an iterator in a thread while the caller works on the current one; knows no training."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
END: Any = object()


def compute_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Return the same items, computed in one thread, each while the caller works on the one before it.

    The first item is begun at once, before it is asked for. An error in the thread reaches the caller in the place of
    its item. The thread ends after the last item, and when the caller closes or drops the iterator.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute_ahead")
    return _take_items(pool, items, pool.submit(next, items, END))


def _take_items(pool: ThreadPoolExecutor, items: Iterator[Item], computed: "Future[Item]") -> Iterator[Item]:
    with pool:  # waits until the item in progress is done
        while (item := computed.result()) is not END:
            computed = pool.submit(next, items, END)
            yield item
