"""The models with which callbacks run."""

from typing import TypeVar

from lightning import Callback, LightningModule

Model = TypeVar("Model", bound=LightningModule)


def expect_model(model: LightningModule, kind: type[Model], callback: Callback) -> Model:
    """Return a model as what a callback needs.

    Args:
        model: The model that Lightning hands to the callback.
        kind: Class of ours that has what the callback needs.
        callback: Who asks, for the message.

    Raises:
        TypeError: If the model is none of that kind.
    """
    if not isinstance(model, kind):
        raise TypeError(
            f"Expected {type(callback).__name__} to run with a model of lightning_gan, got "
            f"{type(model).__name__}."
        )
    return model
