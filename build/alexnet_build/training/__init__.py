"""From a folder of labelled photographs to weights.

folders (what is where) -> images (uint8 tensors) -> augment (on the device) -> recipe -> fit (Lightning)
                                                                             -> shrink (prune and quantise)
"""
