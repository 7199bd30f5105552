import pytest
import torch

from lightning_gan.functional import top_k_rows


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("n", [3, 8, 17])
def test_finds_the_largest(n: int, share: float) -> None:
    logits = torch.randn(n)
    by_size = sorted(range(n), key=lambda i: logits[i].item(), reverse=True)
    expected = sorted(by_size[: max(1, round(share * n))])
    assert top_k_rows(logits, share).tolist() == expected


def test_finds_a_whole_number_of_rows_exactly() -> None:
    """As a product of floats 0.55 * 100 is more than 55, and 0.29 * 100 less than 29."""
    assert len(top_k_rows(torch.randn(100), 0.55)) == 55
    assert len(top_k_rows(torch.randn(100), 0.29)) == 29
    assert len(top_k_rows(torch.randn(64), 0.75)) == 48


def test_finds_at_least_one() -> None:
    assert top_k_rows(torch.tensor([0.0, 3.0, 1.0]), 1e-6).tolist() == [1]
    assert top_k_rows(torch.tensor([-5.0]), 0.1).tolist() == [0]


def test_all_rows_stay_in_their_order() -> None:
    assert top_k_rows(torch.randn(6), 1.0).tolist() == list(range(6))


@pytest.mark.parametrize("shape", [(1,), (1, 2, 2)])
def test_a_row_counts_with_its_mean(shape: tuple[int, ...]) -> None:
    means = torch.tensor([0.1, 2.0, -3.0, 1.0])
    noise = torch.randn(4, *shape)
    noise -= noise.flatten(1).mean(1).view(-1, *(1,) * len(shape))
    logits = means.view(-1, *(1,) * len(shape)) + 9 * noise
    assert top_k_rows(logits, 0.5).tolist() == [1, 3]


def test_gradient_reaches_the_chosen_rows_only() -> None:
    logits = torch.tensor([1.0, -1.0, 3.0, 0.0], requires_grad=True)
    rows = top_k_rows(logits, 0.5)
    assert rows.dtype == torch.int64
    (by_logits,) = torch.autograd.grad(logits[rows].mean(), logits)
    torch.testing.assert_close(by_logits, torch.tensor([0.5, 0.0, 0.5, 0.0]), rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected 'share' to be in \(0, 1\], got {share}\."):
        top_k_rows(torch.zeros(3), share)
