"""`python -m alexnet_server` is `alexnet-server`."""

from alexnet_server.cli import main

main()
