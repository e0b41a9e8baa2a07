"""Settings of the models' configs, searched on a running server and written down with what was measured.

``settings`` what can be set · ``bounds`` between which values · ``compare`` one candidate against the best so far ·
``search`` one after the other · ``load``, ``generator`` the requests · ``live`` the server · ``alternating``,
``graphs`` CUDA graphs, and only if they answer right · ``record`` tuning.json · ``report`` the table · ``run`` all of
it, for the command ``alexnet-build tune``.
"""
