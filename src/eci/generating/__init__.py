"""Negatives and queries that a chat model writes."""
