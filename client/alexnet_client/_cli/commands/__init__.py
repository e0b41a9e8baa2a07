"""The commands: one module each, with its options and nothing else; the work is done in the modules beside this folder.

What a command needs is imported when it runs, so that ``--help`` and the shell's completion are quick.
"""
