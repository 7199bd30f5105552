"""Refusals in words of single arguments."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import signature


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of those there are.

    Raises:
        ValueError: Naming the argument and the choices.
    """
    if value not in choices:
        raise ValueError(f"Expected '{name}' to be one of {list(choices)}, got {value!r}.")


def check_bound(name: str, bound: float | None) -> None:
    """Refuse a bound that nothing could keep to; None stands for no bound.

    Raises:
        ValueError: Naming the argument.
    """
    if bound is not None and not bound > 0:
        raise ValueError(f"Expected '{name}' to be positive or None, got {bound}.")


_SMOOTHING = {"real_target", "fake_target", "label_smoothing"}


def refuse_unknown(variant: type, unknown: Mapping[str, object]) -> None:
    """Refuse arguments that a variant does not have, saying what may have been meant.

    Raises:
        TypeError: If there is any.
    """
    for name in unknown:
        if name in _SMOOTHING:
            hint = (
                " Label smoothing moves the targets of a cross-entropy; GAN and the variants on "
                "it have 'real_target' and 'fake_target'."
            )
        else:
            parameters = [
                p for base in variant.__mro__ for p in signature(base).parameters.values()
            ]
            known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
        raise TypeError(f"{variant.__name__} has no argument '{name}'.{hint}")
