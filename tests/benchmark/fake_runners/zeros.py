"""Answers zeros, at once: very fast and wrong."""

import numpy as np


def load(setup):
    return lambda image: np.zeros((1, 10), np.float32)
