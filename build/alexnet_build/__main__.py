"""``python -m alexnet_build`` is the command ``alexnet-build``."""

from alexnet_build.cli import main

main()
