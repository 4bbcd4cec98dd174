"""Classify the frames of a folder of pictures or of a camera, and print how long they took.

    python docs/examples/video.py shufflenet.pkg frames/            # pictures in order of name
    python docs/examples/video.py shufflenet.pkg 0 --frames 300     # camera 0 (needs OpenCV)

Opens no window, so it runs on a board without a display.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import TvmShufflenetError
from tvm_shufflenet.runtime import Model, read_picture

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def frames_of_folder(folder: Path) -> Iterator[np.ndarray]:
    """Yield the pictures of a folder as uint8 RGB (h, w, 3), in order of name."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES:
            yield read_picture(path)


def frames_of_camera(index: int) -> Iterator[np.ndarray]:
    """Yield a camera's frames as uint8 RGB (h, w, 3), until it stops."""
    import cv2

    camera = cv2.VideoCapture(index)
    try:
        while True:
            arrived, frame = camera.read()
            if not arrived:
                return
            yield frame[:, :, ::-1]  # OpenCV gives BGR; a strided view is fine
    finally:
        camera.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("source", help="a folder of pictures, or a camera's index")
    parser.add_argument("--frames", type=int, help="stop after this many")
    parser.add_argument("--threads", type=int, help="workers; else as the package says")
    options = parser.parse_args()

    camera = options.source.isdigit()
    source = (
        frames_of_camera(int(options.source)) if camera else frames_of_folder(Path(options.source))
    )
    milliseconds = []
    with Model.load(options.package, threads=options.threads) as model:
        for frame in itertools.islice(source, options.frames):
            start = time.perf_counter()
            ((name, probability),) = model.top(frame, k=1)
            milliseconds.append((time.perf_counter() - start) * 1000)
            print(f"{milliseconds[-1]:8.2f} ms  {100 * probability:5.1f} %  {name}", flush=True)
        untrained = model.manifest.weights.untrained
    if not milliseconds:
        raise SystemExit(f"no frames in {options.source}")
    median, p90, p99 = np.percentile(milliseconds, (50, 90, 99))
    print(f"{len(milliseconds)} frames, preprocessing included: ", end="")
    print(f"median {median:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms")
    if untrained:
        print("the weights are random and untrained: the classes mean nothing")


if __name__ == "__main__":
    try:
        main()
    except (TvmShufflenetError, OSError, ImportError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
