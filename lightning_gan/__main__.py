"""``python -m lightning_gan`` is ``lightning-gan``."""

from lightning_gan.cli import main

if __name__ == "__main__":
    main()
