"""The predictor ``ridge``: a linear model whose penalty the data decides."""

from sklearn.linear_model import BayesianRidge

from .base import Array, Predictor


class Ridge(Predictor):
    """Ridge regression with the penalty and the noise of the largest evidence.

    MacKay 1992, Bayesian interpolation; scikit-learn's ``BayesianRidge``.
    """

    name = "ridge"

    def learn(self, x: Array, y: Array) -> None:
        """See :meth:`Predictor.learn`."""
        self._model = BayesianRidge().fit(x, y)

    def infer(self, x: Array) -> tuple[Array, Array]:
        """See :meth:`Predictor.infer`."""
        mean, std = self._model.predict(x, return_std=True)
        return mean, std
