import io
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_gan import GAN
from lightning_gan.diagnostics import Motion, motion
from tests.toys import flat, toy_networks


class Weights(nn.Module):
    """A network that is nothing but weights, in pieces of several sizes."""

    latent_dim = 1

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.pieces = nn.ParameterList(torch.randn(size) for size in sizes)


def game(*sizes: int) -> GAN:
    return GAN(Weights(*sizes), Weights(*sizes))


@torch.no_grad()
def put(model: GAN, network: str, weights: Tensor) -> None:
    pieces = list(getattr(model, network).parameters())
    for piece, values in zip(pieces, weights.split([p.numel() for p in pieces]), strict=True):
        piece.copy_(values)


@pytest.mark.parametrize("angle", [0.1, math.pi / 2, 2.5])
def test_rotation_on_a_circle_is_the_cosine_of_its_angle(angle: float) -> None:
    model, follow = game(2), Motion()
    for t in range(5):
        for name, sign in (("generator", 1), ("discriminator", -1)):
            place = [math.cos(angle * t), sign * math.sin(angle * t)]
            put(model, name, 3 * torch.tensor(place) + 7)
        figures = follow.update(model, {})
        if t < 2:
            assert figures == {}
        else:
            cosine = math.cos(angle)
            expected = {"rotation_g": cosine, "rotation_d": cosine}
            assert figures == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("factor", "cosine"), [(0.3, 1.0), (-2.0, -1.0)])
def test_rotation_on_a_line(factor: float, cosine: float) -> None:
    model, follow = game(3, 2), Motion()
    direction = torch.randn(5)
    for place in (0.0, 1.0, 1.0 + factor):
        put(model, "generator", place * direction)
        figures = follow.update(model, {})
    assert figures == {"rotation_g": pytest.approx(cosine, abs=1e-5)}  # the other stands still


def test_all_weights_of_a_small_network_count() -> None:
    model, follow = GAN(**toy_networks()), Motion()
    places = []
    for _ in range(3):
        places.append(flat(model.discriminator))
        figures = follow.update(model, {})
        for p in model.discriminator.parameters():
            p.data.add_(torch.randn_like(p))
    first, second = (later - earlier for earlier, later in pairwise(places))
    expected = torch.cosine_similarity(first, second, dim=0)
    assert figures["rotation_d"] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("sizes", [(7,), (3, 11, 2, 1, 8), (24, 1), (10, 10, 10)])
def test_of_a_large_network_every_nth_weight_is_followed(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "MOST_WEIGHTS", 10)
    model, follow = game(*sizes), Motion()
    follow.update(model, {})
    step = math.ceil(sum(sizes) / 10)
    kept = follow.state_dict()["weights"]
    for name, network in (("g", model.generator), ("d", model.discriminator)):
        assert len(kept[name]) <= 10
        torch.testing.assert_close(kept[name], flat(network)[::step], rtol=0, atol=0)


def test_at_most_100_000_weights_are_kept() -> None:
    follow = Motion()
    follow.update(game(150_000, 99_999), {})
    kept = follow.state_dict()["weights"]
    assert [len(values) for values in kept.values()] == [83_333, 83_333]


def swing(losses: list[float]) -> float:
    x = np.arange(len(losses))
    slope, start = np.polyfit(x, losses, 1)
    rest = np.array(losses) - slope * x - start
    return float(np.sqrt((rest**2).sum() / (len(x) - 2)) / np.abs(losses).mean())


def test_oscillation_is_the_deviation_from_a_line() -> None:
    model, follow = game(1), Motion(window=8)
    losses = (3 + torch.randn(30)).tolist()
    for i, loss in enumerate(losses, start=1):
        figures = follow.update(model, {"g": loss, "d": -2 * loss})
        if i < 5:
            assert figures == {}
        else:
            expected = swing(losses[max(i - 8, 0) : i])
            expected_both = {"oscillation_g": expected, "oscillation_d": expected}
            assert figures == pytest.approx(expected_both, rel=1e-6)


def last(losses: list[float]) -> dict[str, float]:
    model, follow = game(1), Motion()
    return [follow.update(model, {"d": loss}) for loss in losses][-1]


def test_a_falling_loss_does_not_oscillate() -> None:
    assert last([10 - 0.4 * i for i in range(20)]) == {"oscillation_d": pytest.approx(0, abs=1e-12)}


def test_a_swing_around_0_has_11_tenths() -> None:
    waves = [math.sin(2 * math.pi * i / 10) for i in range(20)]
    found = last(waves)["oscillation_d"]
    assert 1.05 < found < 1.2
    assert found == pytest.approx(swing(waves), rel=1e-9)


@pytest.mark.parametrize("losses", [[0.0] * 20, [1.0] * 4, [1.0] * 4 + [math.nan, math.inf]])
def test_oscillation_that_is_unknown_is_left_out(losses: list[float]) -> None:
    assert last(losses) == {}


def test_goes_on_from_a_checkpoint() -> None:
    moves, losses = torch.randn(9, 4), torch.randn(9).tolist()
    model, whole, part = game(3, 1), Motion(window=6), Motion(window=6)
    for i in range(9):
        put(model, "generator", moves[i])
        expected = whole.update(model, {"g": losses[i], "d": 2.0})
        actual = part.update(model, {"g": losses[i], "d": 2.0})
        file = io.BytesIO()
        torch.save(part.state_dict(), file)
        file.seek(0)
        part = Motion(window=6)
        part.load_state_dict(torch.load(file, weights_only=True))
        assert actual == expected
    assert expected.keys() == {"rotation_g", "oscillation_g", "oscillation_d"}


def test_starts_anew_with_a_network_of_another_size() -> None:
    follow = Motion()
    sizes: list[Any] = [3, 3, 3, 4, 4]
    figures = [follow.update(game(size), {}) for size in sizes]
    assert [bool(found) for found in figures] == [False, False, True, False, False]


@pytest.mark.parametrize("window", [4, -1])
def test_refuses_short_windows(window: int) -> None:
    with pytest.raises(ValueError, match=f"'window' to be at least 5, got {window}"):
        Motion(window)
