import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from jsonargparse import auto_cli
from torch import Tensor, nn

from lightning_gan.networks import (
    DCGANGenerator,
    Generator,
    MixtureGenerator,
    MLPGenerator,
    ResNetGenerator,
)

Share = Literal["none", "trunk"]
SHARES: tuple[Share, ...] = ("none", "trunk")


def small(**options: Any) -> DCGANGenerator:
    return DCGANGenerator(4, 8, 1, base_channels=4, **options)


def latents(mixture: MixtureGenerator, choices: list[int]) -> Tensor:
    """Return normal latents with these choices."""
    z = torch.randn(len(choices), mixture.latent_dim)
    return mixture.assign(z, torch.tensor(choices))


def paths(mixture: MixtureGenerator) -> Iterator[nn.Sequential]:
    """Yield each generator's layers, the shared ones included."""
    for generator in mixture.generators:
        assert isinstance(generator.layers, nn.Sequential)
        yield nn.Sequential(*generator.layers, *mixture.shared)


def test_attributes() -> None:
    mixture = MixtureGenerator(small(num_classes=5), 3)
    assert isinstance(mixture, Generator)
    assert (mixture.num_generators, mixture.latent_dim) == (3, 7)
    assert (mixture.sample_shape, mixture.num_classes) == ((1, 8, 8), 5)


def test_largest_of_the_last_coordinates_chooses() -> None:
    mixture = MixtureGenerator(MLPGenerator(2), 3)
    z = torch.tensor(
        [[9.0, 9.0, 1.0, 3.0, 2.0], [9.0, 9.0, -1.0, -3.0, -2.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    )
    assert mixture.choose(z).tolist() == [1, 0, 0]
    assert mixture.choose(z).dtype == torch.int64


def test_normal_latents_choose_evenly() -> None:
    mixture = MixtureGenerator(MLPGenerator(2), 4)
    counts = mixture.choose(torch.randn(40_000, 6)).bincount(minlength=4)
    deviation = (40_000 * 0.25 * 0.75) ** 0.5  # of a binomial distribution
    assert (counts - 10_000).abs().max() < 4 * deviation


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_assign_changes_the_choice_alone(dtype: torch.dtype) -> None:
    mixture = MixtureGenerator(MLPGenerator(2), 3)
    z = 100 * torch.randn(6, 5, dtype=dtype)
    before, indices = z.clone(), torch.tensor([0, 1, 2, 2, 1, 0])
    assigned = mixture.assign(z, indices)
    assert torch.equal(mixture.choose(assigned), indices)
    assert assigned.dtype == dtype
    assert torch.equal(assigned[:, :2], z[:, :2])
    assert torch.equal(z, before)


@pytest.mark.parametrize("share", SHARES)
def test_each_sample_is_made_by_the_generator_it_chooses(share: Share) -> None:
    mixture = MixtureGenerator(small(), 3, share).eval()
    z = latents(mixture, [2, 0, 2, 1, 0])
    made = list(paths(mixture))
    expected = torch.cat(
        [made[k](row[None, :4]) for row, k in zip(z, [2, 0, 2, 1, 0], strict=True)]
    )
    torch.testing.assert_close(mixture(z), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", SHARES)
def test_evaluation_is_per_sample(share: Share) -> None:
    mixture = MixtureGenerator(small(), 3, share)
    mixture(torch.randn(16, 7))  # moves the running statistics
    mixture.eval()
    z = torch.randn(12, 7)
    subset = torch.tensor([7, 3, 11])
    torch.testing.assert_close(mixture(z[subset]), mixture(z)[subset], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    "pattern", [MLPGenerator(4), small(), ResNetGenerator(4, base_channels=2)], ids=type
)
def test_generators_start_different(pattern: Generator, share: Share) -> None:
    given = {name: value.clone() for name, value in pattern.state_dict().items()}
    mixture = MixtureGenerator(pattern, 3, share).eval()
    z = latents(mixture, [0, 1, 2])
    z[:, :4] = z[0, :4]
    a, b, c = mixture(z)
    for one, other in ((a, b), (b, c), (a, c)):
        assert not torch.allclose(one, other, rtol=1e-3)
    assert all(torch.equal(value, given[name]) for name, value in pattern.state_dict().items())
    owned = {id(weight) for weight in pattern.parameters()}
    assert not any(id(weight) in owned for weight in mixture.parameters())


def count(modules: Any) -> int:
    return sum(weight.numel() for weight in modules.parameters())


def test_number_of_weights() -> None:
    single = count(small())
    first = 4 * 4 * 4 * 4  # the kernel from 4 latent channels to 4 maps of 4x4
    assert count(MixtureGenerator(small(), 3)) == 3 * single
    assert count(MixtureGenerator(small(), 3, "trunk")) == single + 2 * first


@pytest.mark.parametrize(
    ("pattern", "own"),
    [
        (MLPGenerator(4), ["Linear"]),
        (small(), ["Unflatten", "ConvTranspose2d"]),
        (ResNetGenerator(4, base_channels=2), ["Linear"]),
    ],
    ids=type,
)
def test_trunk_begins_after_the_first_weights(pattern: Generator, own: list[str]) -> None:
    """As in section 3.2 of MGAN: all but the weights from the input to the first hidden layer."""
    mixture = MixtureGenerator(pattern, 3, "trunk")
    assert isinstance(pattern.layers, nn.Sequential)
    for generator in mixture.generators:
        assert isinstance(generator.layers, nn.Sequential)
        assert [type(layer).__name__ for layer in generator.layers] == own
    assert len(mixture.shared) == len(pattern.layers) - len(own)


def test_shared_batch_normalization_sees_all_samples() -> None:
    mixture = MixtureGenerator(small(), 2, "trunk")
    z = latents(mixture, [0, 1, 1, 0, 1])
    maps = torch.cat(
        [
            generator.layers(z[i : i + 1, :4])  # type: ignore[operator]
            for i, generator in enumerate([mixture.generators[k] for k in (0, 1, 1, 0, 1)])
        ]
    )
    mixture(z)
    norm = mixture.shared[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.num_batches_tracked == 1
    expected = 0.1 * maps.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", SHARES)
def test_generators_without_samples_are_not_run(share: Share) -> None:
    mixture = MixtureGenerator(small(), 3, share)
    mixture(latents(mixture, [2, 0, 2])).square().sum().backward()
    for k, generator in enumerate(mixture.generators):
        for weight in generator.parameters():
            assert (weight.grad is None) == (k == 1)
        for name, value in generator.named_buffers():
            assert not name.endswith("tracked") or value == (0 if k == 1 else 1)
    assert all(weight.grad is not None for weight in mixture.shared.parameters())


@pytest.mark.parametrize("share", SHARES)
def test_gradients_are_those_of_separate_passes(share: Share) -> None:
    mixture = MixtureGenerator(MLPGenerator(3), 2, share).double()
    z, weights = latents(mixture, [1, 0, 1]).double(), list(mixture.parameters())
    actual = torch.autograd.grad(mixture(z).square().sum(), weights)
    made = list(paths(mixture))
    losses = [made[k](z[i, :3][None]).square().sum() for i, k in enumerate([1, 0, 1])]
    expected = torch.autograd.grad(torch.stack(losses).sum(), weights)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", SHARES)
def test_a_single_sample_in_training(share: Share) -> None:
    mixture = MixtureGenerator(small(), 2, share)
    assert mixture(latents(mixture, [1])).isfinite().all()
    assert mixture(latents(mixture, [0, 1, 0])).isfinite().all()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("conditioning", ["concat", "norm"])
def test_labels_go_with_their_samples(share: Share, conditioning: Any) -> None:
    pattern = small(num_classes=3, conditioning=conditioning)
    mixture = MixtureGenerator(pattern, 2, share)
    for weight in mixture.parameters():
        nn.init.normal_(weight, std=0.3)  # classes start equal under conditional normalisation
    mixture.eval()
    z, labels = latents(mixture, [1, 0, 1, 0]), torch.tensor([0, 2, 1, 1])
    together = mixture(z, labels)
    alone = torch.cat([mixture(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.isclose(together, mixture(z, (labels + 1) % 3)).all(dim=(1, 2, 3)).any()
    with pytest.raises(ValueError, match=r"'labels' for this DCGANGenerator.*num_classes=3"):
        mixture(z)


def test_an_unconditional_mixture_ignores_labels() -> None:
    mixture = MixtureGenerator(MLPGenerator(2), 2)
    z = torch.randn(5, 4)
    torch.testing.assert_close(mixture(z, torch.arange(5)), mixture(z), rtol=0, atol=0)


@pytest.mark.parametrize("share", SHARES)
def test_autocast(share: Share) -> None:
    pattern = small()
    mixture = MixtureGenerator(pattern, 3, share)
    z = latents(mixture, [2, 0, 1, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        samples, single = mixture(z), pattern(z[:, :4])
    assert samples.dtype == single.dtype == torch.bfloat16
    assert samples.isfinite().all()


@pytest.mark.parametrize("share", SHARES)
def test_initialize(share: Share) -> None:
    """The family's own distribution: N(0, 0.02) for all kernels."""
    mixture = MixtureGenerator(DCGANGenerator(32, 16), 2, share)
    for weight in mixture.parameters():
        nn.init.constant_(weight, 7)
    mixture.initialize()
    kernels = [m for m in mixture.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(kernels) == (6 if share == "none" else 4)
    for layer in kernels:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not any((weight == 7).any() for weight in mixture.parameters())
    one, other = (next(generator.parameters()) for generator in mixture.generators)
    assert not torch.allclose(one, other)


def test_initialize_a_part() -> None:
    mixture = MixtureGenerator(small(), 2, "trunk")
    before = {name: value.clone() for name, value in mixture.state_dict().items()}
    mixture.initialize(mixture.shared[2])
    after = mixture.state_dict()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == ["shared.2.weight", "shared.2.bias"]
    assert after["shared.2.weight"].std().item() == pytest.approx(0.02, rel=0.5)


def test_a_mixture_of_mixtures() -> None:
    mixture = MixtureGenerator(MixtureGenerator(MLPGenerator(2), 2, "trunk"), 3)
    assert mixture.latent_dim == 7
    assert mixture(torch.randn(9, 7)).shape == (9, 2)
    with pytest.raises(TypeError, match=r"'layers' .* nn\.Sequential .*, got NoneType\."):
        MixtureGenerator(MixtureGenerator(MLPGenerator(2), 2), 3, "trunk")


def test_wrong_latents() -> None:
    mixture = MixtureGenerator(MLPGenerator(2), 3)
    message = r"latents \(N, 5\), of which the last 3 choose the generator, got \(4, 2\)\."
    with pytest.raises(ValueError, match=message):
        mixture(torch.randn(4, 2))


def test_wrong_arguments() -> None:
    pattern: Any = nn.Linear(2, 2)
    share: Any = "all"
    with pytest.raises(TypeError, match=r"'generator' to be a Generator, .*, got Linear\."):
        MixtureGenerator(pattern, 2)
    with pytest.raises(ValueError, match=r"'num_generators' to be at least 1, got 0\."):
        MixtureGenerator(MLPGenerator(2), 0)
    with pytest.raises(ValueError, match=r"'share' to be 'none' or 'trunk', got 'all'\."):
        MixtureGenerator(MLPGenerator(2), 2, share)
    bare = Generator(2, (2,))
    bare.layers = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match=r"'layers' of 'generator' to have weights, got none\."):
        MixtureGenerator(bare, 1, "trunk")


def test_copies_that_cannot_be_drawn_anew() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.randn(2))

        def forward(self, z: Tensor) -> Tensor:
            return z + self.shift

    pattern = Generator(2, (2,))
    pattern.layers = Shift()
    with pytest.raises(ValueError, match=r"weights that 'initialize' draws anew, got a Generator"):
        MixtureGenerator(pattern, 2)
    MixtureGenerator(pattern, 1)


def test_command_line() -> None:
    def build(network: nn.Module) -> nn.Module:
        return network

    path = "lightning_gan.networks"
    init: Any = {"latent_dim": 4, "image_size": 16, "base_channels": 8, "attention": [8]}
    pattern: Any = {"class_path": f"{path}.DCGANGenerator", "init_args": init}
    config: Any = {
        "class_path": f"{path}.MixtureGenerator",
        "init_args": {"generator": pattern, "num_generators": 4, "share": "trunk"},
    }
    network = auto_cli(build, args=[f"--network={json.dumps(config)}"], as_positional=False)
    assert network(torch.randn(5, 8)).shape == (5, 3, 16, 16)


def test_batch_norm_of_vectors_must_be_shared() -> None:
    pattern = MLPGenerator(hidden=(8, 8), norm="batch")
    MixtureGenerator(pattern, 3, share="trunk")
    MixtureGenerator(pattern, 1)
    with pytest.raises(ValueError, match=r"Expected no nn\.BatchNorm1d in the generators"):
        MixtureGenerator(pattern, 3)
