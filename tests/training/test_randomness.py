import hashlib
import math
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning import seed_everything
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from torch import Tensor

from lightning_gan.training.randomness import run_seed, seed_step

CPU = torch.device("cpu")


def drawn(*place: int) -> Tensor:
    seed_step(CPU, *place)
    return torch.cat([torch.randn(50), torch.rand(50)])


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def strategy(broadcast: Any = None) -> Strategy:
    """Return a strategy on one device, or one whose broadcast is given."""
    single = SingleDeviceStrategy("cpu")
    if broadcast is None:
        return single
    return Mock(wraps=single, broadcast=broadcast)


def test_same_place_same_numbers() -> None:
    assert_equal(drawn(3, 14, 1), drawn(3, 14, 1))


def test_numbers_do_not_depend_on_what_was_drawn_before() -> None:
    expected = drawn(3, 14, 1)
    torch.manual_seed(99)
    torch.randn(17)
    assert_equal(drawn(3, 14, 1), expected)


@pytest.mark.parametrize("place", [(4, 14, 1), (3, 15, 1), (3, 14, 0), (3, 141), (3, 1, 41)])
def test_other_places_other_numbers(place: tuple[int, ...]) -> None:
    assert not torch.isclose(drawn(*place), drawn(3, 14, 1), atol=1e-6).any()


def test_neighbouring_places_are_independent() -> None:
    """Means of 2 x 400 x 100 numbers, and correlations of neighbours, are those of white noise."""
    numbers = torch.stack([drawn(0, step, rank)[:50] for rank in (0, 1) for step in range(400)])
    assert abs(numbers.mean()) < 5 / math.sqrt(numbers.numel())
    steps = (numbers[1:] * numbers[:-1]).mean()
    between_ranks = (numbers[:400] * numbers[400:]).mean()
    assert abs(steps) < 5 / math.sqrt(numbers[1:].numel())
    assert abs(between_ranks) < 5 / math.sqrt(numbers[:400].numel())
    assert len(set(numbers[:, 0].tolist())) == 800


def test_large_and_negative_numbers_are_places_too() -> None:
    places = [(2**63, 0, 0), (2**64 + 1, 0, 0), (-1, 0, 0), (0, 2**40, 0), ()]
    assert len({drawn(*place)[0].item() for place in places}) == len(places)


def test_numbers_are_fixed_by_a_public_hash() -> None:
    """Python's own hash would differ between processes, and so between ranks and resumes."""
    drawn(0, 1, 2)
    digest = hashlib.blake2b(b"(0, 1, 2)", digest_size=8).digest()
    assert torch.initial_seed() == sum(byte << 8 * i for i, byte in enumerate(digest))


def test_also_seeds_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Mock()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    seed_step(torch.device("cuda", 0), 1, 2)
    module.manual_seed.assert_called_once_with(torch.initial_seed())


def test_run_seed_is_that_of_seed_everything() -> None:
    seed_everything(123, verbose=False)
    assert run_seed(strategy()) == 123


def test_run_seed_is_drawn_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED")
    torch.manual_seed(0)
    seeds = set()
    for _ in range(5):
        torch.manual_seed(0)  # a fixed state of the generators does not fix the run
        seeds.add(run_seed(strategy()))
    assert len(seeds) == 5
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_run_seed_does_not_consume_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED")
    before = torch.get_rng_state()
    run_seed(strategy())
    assert_equal(torch.get_rng_state(), before)


def test_run_seed_of_all_ranks_is_that_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    broadcast = Mock(return_value=42)
    assert run_seed(strategy(broadcast)) == 42
    broadcast.assert_called_once_with(5)
