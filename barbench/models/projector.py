"""Up-sample projector (appendix C, Eq. 12): four times larger maps, read by a 3x3 kernel made from the sentence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.upsample import convolve_upsampled
from barbench.models.neck import conv_block

KERNEL = 3


class Projector(nn.Module):
    """Eq. 12 and the dot product of Eq. 10: F_ci = Conv(Up(F_mm)), F_t = Linear(F_l)."""

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
        """x (B, width, H, W), sentence (B, E) -> logits (B, 1, 4H, 4W).

        The released head enlarges, then convolves; here the channels are mixed first (`convolve_upsampled`). It
        convolves 1x1 and then with the sentence's kernel; both are linear, so the kernel passes through the 1x1
        convolution first: nine dot products a pixel take the place of a full-size map. Both exact, borders included.
        """
        last = self.vis[4]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        for block in (self.vis[1], self.vis[3]):
            assert isinstance(block, nn.Sequential)
            assert isinstance(block[0], nn.Conv2d)
            x = block[1:](convolve_upsampled(x.permute(0, 2, 3, 1), block[0].weight).permute(0, 3, 1, 2))
        read: Tensor = self.txt(sentence)
        kernel, bias = read[:, :-1].view(len(x), -1, KERNEL * KERNEL), read[:, -1:]
        kernel = kernel.flip(-1).transpose(
            1, 2
        )  # (B, 9, inner), flipped because `fold` scatters what a convolution gathers
        taps = torch.baddbmm((kernel @ last.bias)[..., None], kernel @ last.weight.flatten(1), x.flatten(2))
        logits = F.fold(taps, x.shape[2:], KERNEL, padding=KERNEL // 2)
        return logits + bias[..., None, None]
