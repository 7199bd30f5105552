"""Where files live that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for what is kept between runs; it need not exist yet.

    That is the environment variable ``LIGHTNING_GAN_CACHE``, else ``lightning_gan`` in the user's
    folder for such files, ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    own = os.environ.get("LIGHTNING_GAN_CACHE")
    if own:
        return Path(own).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # Relative ones are to be ignored, says the XDG Base Directory Specification.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "lightning_gan"
