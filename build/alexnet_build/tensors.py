"""The names by which the models of the repository and their tensors are known; configs are rendered from these."""

PREPROCESS = "preprocess"
ALEXNET = "alexnet"
CLASSIFIER = "classifier"

IMAGE = "IMAGE"
PIXELS = "PIXELS"
PROBABILITIES = "PROBABILITIES"
EMBEDDINGS = "EMBEDDINGS"
