"""The parts of the command line: what it reads (paths), what it writes (one module a kind), how it ends."""
