"""Run packages on a device: needs numpy, Pillow and TVM's runtime, imported only when used.

from tvm_shufflenet.runtime import Model
with Model.load("shufflenet.pkg", threads=4) as model:
    print(model.top(frame))  # frame: uint8 RGB (h, w, 3)
"""

from tvm_shufflenet.manifest import Manifest
from tvm_shufflenet.runtime.checked import read_manifest
from tvm_shufflenet.runtime.frames import read_picture
from tvm_shufflenet.runtime.model import Model
from tvm_shufflenet.runtime.timing import Timing

__all__ = ["Manifest", "Model", "Timing", "read_manifest", "read_picture"]
