"""Negatives for a retrieval task: miners, filters and rows put together."""
