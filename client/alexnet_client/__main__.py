"""``python -m alexnet_client``: the same as ``alexnet-client``."""

from .cli import main

if __name__ == "__main__":
    main()
