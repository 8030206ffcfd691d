"""Encoders and the cache of their vectors. Nothing heavy is imported until a model is loaded."""
