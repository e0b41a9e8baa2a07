"""Makes trained weights smaller or faster to compute with: weights in, weights out, accuracy before and after.

``prune`` removes weights, ``quantise`` prepares them for INT8, ``pack`` writes a small file. ``retrain`` is what they
share. Each step keeps the zeros that it finds, so they can follow one another.
"""
