"""What callbacks ask a run for."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from lightning_gan.callbacks.run import first_of


class Stream(IterableDataset[Any]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(2)


FULL: Any = DataLoader(list(torch.zeros(3, 2)))  # type: ignore[arg-type]
EMPTY: Any = DataLoader([])  # type: ignore[arg-type]
ENDLESS = DataLoader(Stream())


@pytest.mark.parametrize(
    ("loaders", "first"),
    [
        (None, None),
        ([], None),
        (EMPTY, None),
        ([EMPTY, FULL], None),
        ({"a": FULL}, None),
        (FULL, FULL),
        ([FULL, EMPTY], FULL),
        (ENDLESS, ENDLESS),
    ],
)
def test_first_of_loaders(loaders: Any, first: Any) -> None:
    assert first_of(loaders) is first
