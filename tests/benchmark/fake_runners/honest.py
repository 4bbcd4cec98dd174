"""Right, by looking the answers up, and chatty."""

import sys


def load(setup):
    sys.stdout.write("hello from a runtime\n")
    answers = {
        image.tobytes(): expected
        for image, expected in zip(setup.export.inputs(), setup.export.expected(), strict=True)
    }
    return lambda image: answers[image.tobytes()]
