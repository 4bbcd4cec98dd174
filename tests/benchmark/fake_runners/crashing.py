"""Loads, checks out, and dies of a signal while it is timed."""

import os
import signal


def load(setup):
    answers = {
        image.tobytes(): expected
        for image, expected in zip(setup.export.inputs(), setup.export.expected(), strict=True)
    }
    calls = []

    def infer(image):
        calls.append(image)
        if len(calls) > 10:
            os.kill(os.getpid(), signal.SIGSEGV)
        return answers[image.tobytes()]

    return infer
