"""AlexNet as Krizhevsky et al. published it (NIPS 2012): the paper's 720 M multiply-adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tvm_shufflenet.models.costs import CLASSES
from tvm_shufflenet.models.input_size import ALEXNET_MIN_SIDE, check_module_input


class AlexNet(nn.Module):
    """The two-column network: conv2, conv4 and conv5 see half of the channels each.

    (N, 3, H, W) -> (N, 1000) logits; H and W from 63 up. A padding of 2 gives conv1 the 55x55
    outputs of the original at 224x224 (Krizhevsky's own arithmetic needs 227). For other sizes
    the last feature map is averaged down to the 6x6 that fc6 expects (`AdaptiveAvgPool2d`),
    which changes nothing at 224x224.

    Raises:
        ModelError: for a smaller input.
    """

    min_side = ALEXNET_MIN_SIDE

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 96, 11, stride=4, padding=2), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU())
        self.conv3 = nn.Sequential(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU())
        self.conv4 = nn.Sequential(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU())
        self.conv5 = nn.Sequential(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU())
        # Sec. 3.3 there: k = 2, n = 5, alpha = 1e-4, beta = 0.75; torch divides alpha by n.
        self.norm1 = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.norm2 = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.to_6x6 = nn.AdaptiveAvgPool2d(6)
        self.fc6 = nn.Sequential(nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout())
        self.fc7 = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout())
        self.fc8 = nn.Linear(4096, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        check_module_input(self, x)
        x = self.pool(self.norm1(self.conv1(x)))
        x = self.pool(self.norm2(self.conv2(x)))
        x = self.pool(self.conv5(self.conv4(self.conv3(x))))
        x = torch.flatten(self.to_6x6(x), 1)
        logits: Tensor = self.fc8(self.fc7(self.fc6(x)))
        return logits
