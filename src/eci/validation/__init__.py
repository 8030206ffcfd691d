"""Whether what metrics say of negatives comes true in training: train, evaluate, compare."""
