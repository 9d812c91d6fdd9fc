"""Imports the packages of the real environment, and computes a little with each."""

import jupyterlab
import matplotlib
import numpy
import pandas
import scipy.linalg
import sklearn.linear_model

matplotlib.use("Agg")
import matplotlib.pyplot

frame = pandas.DataFrame({"x": numpy.arange(10.0), "y": 3 * numpy.arange(10.0) + 1})
model = sklearn.linear_model.LinearRegression().fit(frame[["x"]], frame["y"])
assert abs(model.coef_[0] - 3) < 1e-9
assert abs(scipy.linalg.det(numpy.eye(3)) - 1) < 1e-9
matplotlib.pyplot.plot(frame["x"], frame["y"])
matplotlib.pyplot.savefig("/tmp/figure.png")
print("trained with numpy", numpy.__version__, "and jupyterlab", jupyterlab.__version__)
