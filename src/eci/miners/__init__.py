"""Miners: for each query, negatives out of a corpus, with who found them and how.

Each is a module with a class that satisfies ``eci.task.Miner``; `filters` and `copies` decide what of
their finds becomes a negative, `hybrid` puts the negatives of several sources together.
"""
