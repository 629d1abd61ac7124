"""Up-sample projector (appendix C, Eq. 12): upsampled maps, read by a 3x3 kernel that is made from the sentence; and
the linear readout that replaces it and the decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.upsample import convolve_upsampled
from barbench.models.neck import conv_block

KERNEL = 3


class Projector(nn.Module):
    """Eq. 12, F_ci = Conv(Up(F_mm)) and F_t = Linear(F_l), and the product F_ci . F_t of Eq. 10.

    As in CRIS and ETRIS, F_t is a 3x3 kernel with a bias rather than one vector.

    Args:
        width: channels of the decoder's map.
        sentence: channels E of the sentence embedding.
    """

    def __init__(self, width: int, sentence: int) -> None:
        super().__init__()
        inner = width // 2
        self.vis = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv_block(width, width, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            conv_block(width, inner, 3),
            nn.Conv2d(inner, inner, 1),
        )
        self.txt = nn.Linear(sentence, inner * KERNEL * KERNEL + 1)

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """Logits of the mask, before the sigmoid of Eq. 10.

        The released head upsamples, then convolves; here the channels are mixed first (`convolve_upsampled`). It
        convolves 1x1 and then with the sentence's kernel; both are linear, so here the kernel passes through the 1x1
        convolution first, and nine dot products per pixel replace a full-size map. Both changes are exact, borders
        included.

        Args:
            x: F_mm (B, width, H, W).
            sentence: F_l, the sentence embedding (B, E).

        Returns:
            (B, 1, 4H, 4W).
        """
        last = self.vis[4]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # Eq. 12, left: F_ci = Conv(Up(F_mm)), in two steps of 2x; the last 1x1 convolution follows below.
        for block in (self.vis[1], self.vis[3]):
            assert isinstance(block, nn.Sequential)
            assert isinstance(block[0], nn.Conv2d)
            wide = convolve_upsampled(x.permute(0, 2, 3, 1), block[0].weight)
            x = block[1:](wide.permute(0, 3, 1, 2))
        # Eq. 12, right: F_t, one kernel and bias per sentence.
        text: Tensor = self.txt(sentence)
        kernel = text[:, :-1].view(len(x), -1, KERNEL * KERNEL)
        bias = text[:, -1:]
        # (B, 9, inner), flipped because `fold` scatters what a convolution gathers.
        kernel = kernel.flip(-1).transpose(1, 2)
        # Eq. 10: F_ci . F_t, with the last 1x1 convolution of F_ci folded into the kernel.
        taps = torch.baddbmm((kernel @ last.bias)[..., None], kernel @ last.weight.flatten(1), x.flatten(2))
        logits = F.fold(taps, x.shape[2:], KERNEL, padding=KERNEL // 2)
        return logits + bias[..., None, None]


class LinearReadout(nn.Module):
    """The linear head: each patch times one vector that is made from the sentence, (F_c . (W t + b)) / sqrt Q + b_0.

    The product is upsampled, not the map: both are linear, so that the logits are the same. This reading is ours.

    Args:
        width: channels Q of the map.
        sentence: channels E of the sentence embedding.
    """

    def __init__(self, width: int, sentence: int) -> None:
        super().__init__()
        self.txt = nn.Linear(sentence, width)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """Logits of the mask (B, 1, 4H, 4W), before the sigmoid of Eq. 10, from F_c (B, width, H, W) and the sentence
        embedding (B, E)."""
        vector: Tensor = self.txt(sentence)
        product = torch.einsum("bqhw,bq->bhw", x, vector) / x.shape[1] ** 0.5
        logits = (product + self.bias)[:, None]
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
