"""The predictor ``gp``: a Gaussian process."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from ...core.seeds import derive
from .base import Array, Predictor


class GaussianProcess(Predictor):
    """A Gaussian process with one length for all features, a Matern kernel (5/2) and noise.

    Its parameters have the largest marginal likelihood that two starts found; scikit-learn's
    ``GaussianProcessRegressor`` (Rasmussen & Williams 2006). Fitting takes N^3: for up to about a
    thousand architectures.
    """

    name = "gp"

    def learn(self, x: Array, y: Array) -> None:
        """See :meth:`Predictor.learn`."""
        # Distances grow with the root of the number of features.
        usual = float(x.shape[1]) ** 0.5
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(
            usual, (1e-2 * usual, 1e2 * usual), nu=2.5
        ) + WhiteKernel(0.1, (1e-6, 1e1))
        self._model = GaussianProcessRegressor(
            kernel, n_restarts_optimizer=1, random_state=derive(self.seed, "gp") % 2**32
        )
        with warnings.catch_warnings():
            # A parameter at the end of its range is one that the data does not ask for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(x, y)

    def infer(self, x: Array) -> tuple[Array, Array]:
        """See :meth:`Predictor.infer`."""
        mean, std = self._model.predict(x, return_std=True)
        return mean, std
