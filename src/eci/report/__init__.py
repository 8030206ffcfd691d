"""One page that says which source of negatives leads, why, how sure that is, and how to obtain it again."""
