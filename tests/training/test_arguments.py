"""Messages about single arguments."""

import pytest

from lightning_gan import ACGAN, GAN, MGAN, SNGAN, WGAN, WGANGP
from lightning_gan.training.arguments import check_bound, check_choice, refuse_unknown


def test_choices() -> None:
    for choice in ("sun", "moon"):
        check_choice("light", choice, iter(["sun", "moon"]))
    message = r"Expected 'light' to be one of \['sun', 'moon'\], got 'mars'\."
    with pytest.raises(ValueError, match=message):
        check_choice("light", "mars", {"sun": 1, "moon": 2})


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_bounds(bound: float) -> None:
    check_bound("limit", None)
    check_bound("limit", 1e-9)
    with pytest.raises(ValueError, match=f"Expected 'limit' to be positive or None, got {bound}"):
        check_bound("limit", bound)


@pytest.mark.parametrize(
    ("variant", "name", "meant"),
    [
        (GAN, "generator_objectiv", "generator_objective"),  # its own
        (WGANGP, "gpweight", "gp_weight"),
        (ACGAN, "real_targets", "real_target"),  # of the variant it extends
        (MGAN, "diversty_weight", "diversity_weight"),
        (SNGAN, "n_critics", "n_critic"),  # of the loop
        (WGAN, "gradient_clip_val", "gradient_clip_val_g"),  # of what is around it
        (WGAN, "optimiser_g", "optimizer_g"),
        (WGAN, "latent_dims", "latent_dim"),
    ],
)
def test_misspelt_arguments_are_corrected(variant: type, name: str, meant: str) -> None:
    with pytest.raises(TypeError) as error:
        refuse_unknown(variant, {name: 1})
    assert str(error.value) == (
        f"{variant.__name__} has no argument '{name}'. Did you mean '{meant}'?"
    )


def test_unknown_arguments_are_named() -> None:
    refuse_unknown(GAN, {})
    with pytest.raises(TypeError, match=r"^WGAN has no argument 'zzz'\.$"):
        refuse_unknown(WGAN, {"zzz": 1})


@pytest.mark.parametrize("name", ["real_target", "fake_target", "label_smoothing"])
def test_smoothing_is_referred_to_the_variants_that_have_it(name: str) -> None:
    with pytest.raises(TypeError) as error:
        refuse_unknown(WGAN, {name: 0.9})
    assert str(error.value) == (
        f"WGAN has no argument '{name}'. Label smoothing moves the targets of a cross-entropy; GAN "
        "and the variants on it have 'real_target' and 'fake_target'."
    )
