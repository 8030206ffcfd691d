"""Hybrids: negatives of several sources in one set."""
