"""Weights for rows whose queries have one positive each, from which nothing can be learned about others.

Fitted by ``ECI_DATA=DIR python benchmarks/audit.py fallback`` on the train queries of NFCorpus and SciFact,
of whose positives two were kept, with BM25's and the embedded encoder's first 50 finds as negatives.
"""

from __future__ import annotations

import numpy as np

from eci.audit.combination import Weights

# In the order of features.NAMES. How often a document occurs depends on the collection, and counts nothing.
FALLBACK = Weights(
    np.array([0.4509, 1.4994, 1.4994, 0.4138, 0.0203, 0.0203, 0.372, 0.6307, 3.4532, 0.0, 0.0]), 0.7763
)
