import math

import pytest
import torch
from torch import Tensor

from lightning_gan.functional import features
from lightning_gan.functional.features import blocks, check_features, feature_means


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 3), (6, 3), (7, 3), (7, 100)])
def test_blocks_hold_each_row_once(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", size)
    rows = list(range(count))
    parts = [rows[block] for block in blocks(count)]
    assert [row for part in parts for row in part] == rows
    assert all(len(part) == size for part in parts[:-1])
    assert all(block.stop <= count for block in blocks(count))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_means_are_taken_in_float64(dtype: torch.dtype) -> None:
    x = (200 * torch.rand(3000, 4)).to(dtype)
    expected = x.double().mean(dim=0)
    torch.testing.assert_close(feature_means(x), expected, rtol=1e-14, atol=0)


NAN_ROWS = torch.ones(9, 2)
NAN_ROWS[[4, 6, 6], [1, 0, 1]] = math.nan


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.ones(4), "Expected 'fake' to have shape (N, d), got (4,)."),
        (torch.ones(4, 2, 1), "Expected 'fake' to have shape (N, d), got (4, 2, 1)."),
        (torch.ones(4, 0), "Expected 'fake' to have shape (N, d), got (4, 0)."),
        (torch.ones(1, 2), "Expected 'fake' to hold at least 2 samples, got 1."),
        (torch.ones(0, 2), "Expected 'fake' to hold at least 2 samples, got 0."),
        (
            NAN_ROWS,
            "Expected 'fake' to be finite, got NaN or infinity in 2 of 9 rows, first in row 4.",
        ),
        (
            torch.tensor([[0.0, 1.0], [-math.inf, 0.0], [0.0, math.inf]]),
            "Expected 'fake' to be finite, got NaN or infinity in 2 of 3 rows, first in row 1.",
        ),
        (
            torch.ones(4, 3),
            "Expected 'real' and 'fake' to have the same number of features, got 2 and 3.",
        ),
    ],
)
@pytest.mark.parametrize("size", [2, 1024])
def test_refuses(wrong: Tensor, message: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", size)
    with pytest.raises(ValueError) as caught:
        check_features(2, real=torch.ones(4, 2), fake=wrong)
    assert str(caught.value) == message


def test_accepts_one_row_and_whole_numbers() -> None:
    check_features(features=torch.ones(1, 1, dtype=torch.int64))
