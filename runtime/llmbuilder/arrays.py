"""The kinds of arrays that pass between modules."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
"""Logits, or what rules have made of them: one for each token id ``[V]``, or for each candidate ``[n]``."""
Ids = npt.NDArray[np.int64]
"""Token ids ``[n]``."""
Positions = npt.NDArray[np.intp]
"""Ascending positions in a row of scores ``[n]``."""
