"""Weights for rows whose queries have one positive each, from which nothing can be learned about others.

Fitted by ``ECI_DATA=DIR python benchmarks/audit.py fallback`` on the train queries of NFCorpus and SciFact,
of whose positives two were kept, with BM25's and the embedded encoder's first 50 finds as negatives.
"""

from __future__ import annotations

import numpy as np

from eci.audit.combination import Weights

# In the order of features.NAMES. How often a document occurs depends on the collection, and counts nothing.
FALLBACK = Weights(np.array([0.0, 1.9195, 1.9195, 0.4743, 0.0, 0.0, 0.5052, 0.541, 3.7393, 0.0, 0.0]), 0.5719)
