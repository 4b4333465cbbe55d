"""The predictor ``forest``: many trees."""

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from ...core.seeds import derive
from .base import Array, Predictor

TREES = 100


class Forest(Predictor):
    """A random forest; the standard deviation is that between its trees.

    Breiman 2001; scikit-learn's ``RandomForestRegressor``. The spread of the trees as in SMAC
    (Hutter et al. 2011).
    """

    name = "forest"

    def learn(self, x: Array, y: Array) -> None:
        """See :meth:`Predictor.learn`."""
        self._model = RandomForestRegressor(
            TREES, max_features=1 / 3, random_state=derive(self.seed, "forest") % 2**32
        ).fit(x, y)

    def infer(self, x: Array) -> tuple[Array, Array]:
        """See :meth:`Predictor.infer`."""
        each = np.stack([tree.predict(x) for tree in self._model.estimators_])
        return each.mean(0), each.std(0)
