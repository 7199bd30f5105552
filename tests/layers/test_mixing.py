import pytest
from torch import nn

from lightning_gan.layers import (
    ConditionalBatchNorm2d,
    MinibatchDiscrimination,
    MinibatchStdDev,
    mixing_layers,
    spectral_normalize,
)


class Mixer(nn.Identity):
    mixes_samples = True


@pytest.mark.parametrize("under_penalty", [True, False])
def test_names_batch_normalization_wherever_it_is(under_penalty: bool) -> None:
    network = nn.Sequential(
        nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.GroupNorm(1, 2)), Mixer()
    )
    found = mixing_layers(network, under_penalty=under_penalty)
    assert found == ["BatchNorm1d in '1.0'", "Mixer in '2'"]


def test_names_the_statistics_of_conditional_batch_normalization() -> None:
    network = nn.Sequential(ConditionalBatchNorm2d(2, 3))
    assert mixing_layers(network, under_penalty=True) == ["BatchNorm2d in '0.norm'"]


def test_leaves_out_layers_that_allow_a_penalty_only_under_one() -> None:
    network = nn.Sequential(MinibatchDiscrimination(2), MinibatchStdDev(), Mixer())
    everything = ["MinibatchDiscrimination in '0'", "MinibatchStdDev in '1'", "Mixer in '2'"]
    assert mixing_layers(network) == everything
    assert mixing_layers(network, under_penalty=True) == ["Mixer in '2'"]


def test_parametrised_layers_are_seen_as_before() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert mixing_layers(spectral_normalize(network)) == ["BatchNorm2d in '1'"]
    assert not mixing_layers(spectral_normalize(nn.Sequential(nn.Linear(2, 2))))
