"""Encoders, rerankers and the cache of what they compute; nothing heavy is imported until one is loaded."""
