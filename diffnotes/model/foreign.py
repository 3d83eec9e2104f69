r"""Models that others have trained, as denoisers of this book: its samplers and measures then take them as their own.

A denoiser needs three things: what the model predicts (a ``target``), at which noise levels (a ``schedule``), and how
the model wants to be told the time. :func:`from_function` takes any function of samples and times;
:func:`from_diffusers` reads all three from a model and a scheduler of the library ``diffusers``:

    ===============  =====================  =====================================
    here             there                  remark
    ===============  =====================  =====================================
    t = 1, ..., T    timestep t - 1         their 0 is the first noise, ours none
    Chain.beta       scheduler.betas        alpha_bar_t = alphas_cumprod[t - 1]
    "eps"            "epsilon"
    "x0"             "sample"
    "v"              "v_prediction"         v = alpha eps - sigma x_0 in both
    ===============  =====================  =====================================

``diffusers`` itself is not imported: whatever has these attributes will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.denoiser import Denoiser, Learned
from ..core.numbers import count, floats, number
from ..core.schedule import Chain, Schedule
from ..core.shape import expand_like
from ..core.target import Target, convert

__all__ = ["from_diffusers", "from_function", "times_of"]

TARGET_OF = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
"""The names that ``diffusers`` gives to prediction targets, and ours."""


class _Asked(torch.nn.Module):
    """``model`` asked in its own shape, dtype and clock about x (n, d) or (n, *shape); its answer in those of x."""

    def __init__(self, model: Callable[..., Any], shape: tuple[int, ...], clock: Callable[[Tensor], Tensor] | None,
                 given: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.shape, self.clock, self.given = model, shape, clock, dict(given)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        if x.ndim < 2 or tuple(x.shape[1:]) not in (self.shape, (math.prod(self.shape),)):
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (n, {', '.join(map(str, self.shape))})"
                             + (f" or (n, {math.prod(self.shape)})" if len(self.shape) > 1 else ""))
        n, own = len(x), next((one.dtype for one in self.parameters() if one.is_floating_point()), x.dtype)
        t = floats(t, "t", torch.float64).to(x.device)
        if t.ndim > 1 or t.numel() not in (1, n):
            raise ValueError(f"t has shape {tuple(t.shape)}; allowed: a number, or one for each of {n} samples")
        times = t.expand(n)
        times = self.clock(times) if self.clock is not None else times.to(own)
        given = {name: self._for(value, name, n) for name, value in self.given.items()}
        y = self.model(x.reshape(n, *self.shape).to(own), times, **given)
        y = getattr(y, "sample", y)  # an output of diffusers
        y = y[0] if isinstance(y, (tuple, list)) and y else y
        if not isinstance(y, Tensor) or y.shape != (n, *self.shape):
            found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"the model's answer to {n} samples is {found}; allowed: a tensor of shape "
                             f"{(n, *self.shape)} (learned variances, as further channels, are not supported)")
        return y.reshape(x.shape).to(x.dtype)

    def _for(self, value: Any, name: str, n: int) -> Any:
        """A condition for n samples: tensors hold one row, for all of them."""
        if not isinstance(value, Tensor) or not value.ndim:
            return value
        if len(value) != 1:
            raise ValueError(f"{name} has shape {tuple(value.shape)}; allowed: one row, which serves every sample "
                             "(samplers ask for blocks of rows)")
        return value.expand(n, *value.shape[1:])


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, (list, tuple, torch.Size)) else (shape,)
    if not sizes:
        raise ValueError("shape = (); allowed: a dimension, or sizes such as (3, 32, 32)")
    return tuple(count(size, "shape", 1) for size in sizes)


def from_function(
    f: Callable[[Tensor, Tensor], Tensor], shape: int | Sequence[int], target: Target, schedule: Schedule | Chain,
    clock: Callable[[Tensor], Tensor] | None = None,
) -> Denoiser:  # fmt: skip
    """Any function ``f(x, times)`` as a denoiser: a module, a compiled network, or a few lines of your own.

    Args:
        f: is given x (n, *shape), in the dtype of its parameters where it has some, and times (n,); answers with the
            prediction of the shape of x, or with an object that has it as ``sample``.
        shape: of one sample, a dimension d or sizes (c, h, w). Samples may also come flat, as (n, c h w).
        target: what f predicts: "x0", "eps", "v", "score", or a function (alpha, sigma) -> (a, b).
        schedule: the noise levels f was trained on; t runs over [0, 1] for a schedule, 1..T for a chain.
        clock: from those times, (n,) in float64, to the times that f knows; by default they are the same.

    Raises:
        TypeError: where f or clock cannot be called.
        ValueError: for an unknown target, and when asked: for samples or an answer of another shape.

    >>> from diffnotes import Linear, ode
    >>> half = from_function(lambda x, t: 0.5 * x, 2, "x0", Linear())
    >>> ode(half, torch.ones(3, 2), [1.0, 0.5]).shape
    torch.Size([3, 2])
    """
    for name, value in (("f", f), ("clock", clock)):
        if not callable(value) and not (name == "clock" and value is None):
            raise TypeError(f"{name} = {value!r}; allowed: a function")
    if not isinstance(schedule, (Schedule, Chain)):
        raise TypeError(f"schedule = {schedule!r}; allowed: a Schedule or a Chain")
    return Learned(_Asked(f, _shape(shape), clock, {}), schedule, target)


class Clipped(Denoiser):
    """``base`` with its x_0 held within -``bound``..``bound``, and its eps to match."""

    target = "x0"

    def __init__(self, base: Denoiser, bound: float) -> None:
        self.base, self.bound, self.schedule = base, number(bound, "bound"), base.schedule
        if not self.bound > 0:
            raise ValueError(f"bound = {bound}; allowed: numbers > 0")

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        y = self.base.predict(x, t)
        alpha, sigma = (expand_like(level, x) for level in self.schedule(t))
        return convert(y, x, alpha, sigma, source=self.base.target, to="x0").clamp(-self.bound, self.bound)


def from_diffusers(
    model: Callable[..., Any], scheduler: Any, shape: Sequence[int] | None = None,
    given: Mapping[str, Any] | None = None, clip: bool | None = None,
) -> Denoiser:  # fmt: skip
    """A model of ``diffusers``, called as ``model(x, timestep).sample``, with the noise levels of a scheduler.

    Args:
        model: such as a UNet2DModel; put it in evaluation mode first.
        scheduler: such as a DDPMScheduler or DDIMScheduler: its betas, prediction type and clipping are read.
        shape: of one sample, (c, h, w); by default from the model's ``config``.
        given: what else the model wants by name, such as encoder_hidden_states; a tensor has one row, for all samples.
        clip: hold x_0 within the scheduler's clip_sample_range; by default, where its clip_sample says so. eps follows
            x_0, which is what a DDPMScheduler does, and a DDIMScheduler with use_clipped_model_output.

    Returns:
        A denoiser on a :class:`diffnotes.Chain` whose t is their timestep plus one; :func:`times_of` has the steps.

    Raises:
        ValueError: for a scheduler without betas in (0, 1) (flow matching, zero terminal SNR) or with noise levels that
            are not those of its betas, an unknown prediction type, dynamic thresholding, learned variances, or where
            the shape is not known.
    """
    if not callable(model):
        raise TypeError(f"model = {model!r}; allowed: what is called as model(x, timestep)")
    config, kind = getattr(scheduler, "config", {}), type(scheduler).__name__
    betas = getattr(scheduler, "betas", None)
    if betas is None:
        raise ValueError(f"scheduler = {kind}; allowed: schedulers with betas, such as DDPMScheduler or DDIMScheduler")
    told = _told(config, "prediction_type", None)
    if told not in TARGET_OF:
        raise ValueError(f"prediction_type = {told!r} of {kind}; allowed: {', '.join(TARGET_OF)}")
    if _told(config, "thresholding", False):
        raise ValueError(f"thresholding = True of {kind}; allowed: False (dynamic thresholding is not supported)")
    if str(_told(config, "variance_type", "")).startswith("learned"):
        raise ValueError(f"variance_type = {config['variance_type']!r} of {kind}; allowed: fixed variances")
    try:
        chain = Chain.from_betas(torch.as_tensor(betas).double())
    except ValueError as error:
        raise ValueError(f"{error} (betas of {kind}; a terminal SNR of zero, a last beta of 1, is not supported)"
                         ) from error
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is not None and not torch.allclose(torch.as_tensor(kept).double().cpu(), chain.alpha_bar[1:], rtol=1e-3):
        raise ValueError(f"alphas_cumprod of {kind} are not the products of 1 - betas, as where the SNR is shifted; "
                         "allowed: schedulers whose noise levels are those of their betas")
    learned = Learned(_Asked(model, _shape(shape if shape is not None else _shape_of(model)),
                             lambda t: t.round().long() - 1, given or {}), chain, TARGET_OF[told])
    clip = bool(_told(config, "clip_sample", False)) if clip is None else clip
    return Clipped(learned, _told(config, "clip_sample_range", 1.0)) if clip else learned


def _told(config: Any, name: str, otherwise: Any) -> Any:
    """An entry of a configuration, which is a mapping or has attributes."""
    return config.get(name, otherwise) if isinstance(config, Mapping) else getattr(config, name, otherwise)


def _shape_of(model: Any) -> tuple[int, ...]:
    config = getattr(model, "config", {})
    channels, size = _told(config, "in_channels", None), _told(config, "sample_size", None)
    if channels is None or size is None:
        raise ValueError("shape = None, and the model's config has no in_channels and sample_size; allowed: (c, h, w)")
    return (channels, *(size if isinstance(size, (list, tuple)) else (size, size)))


def times_of(scheduler: Any) -> Tensor:
    """The steps of a scheduler of ``diffusers`` after ``set_timesteps``, as decreasing times of our chain, int64.

    Their timestep i is our t = i + 1, and the last step ends at 0, or at 1 where the scheduler's set_alpha_to_one is
    False. Our samplers go from each of these times to the next; a DDIMScheduler goes T // steps down instead, which is
    the same where its spacing is even. An EulerDiscreteScheduler takes the steps of our ``ddim``, in samples that are
    divided by alpha.

    Raises:
        ValueError: where ``set_timesteps`` has not been called, and for timesteps that are not whole or do not
            decrease, as those of solvers that ask twice at one time.
    """
    steps = getattr(scheduler, "timesteps", None)
    if steps is None or getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(f"timesteps = {steps!r} of {type(scheduler).__name__}; allowed: after set_timesteps(steps)")
    times = torch.as_tensor(steps).cpu().double() + 1
    wrong = (times != times.round()) | (times < 1)
    wrong[1:] |= times.diff() >= 0
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(f"timesteps[{first}] = {times[first] - 1:g} of {type(scheduler).__name__}; allowed: whole "
                         "numbers >= 0, each below the one before (mostly timestep_spacing = 'leading' or 'trailing')")
    times = times.long()
    last = 0 if _told(getattr(scheduler, "config", {}), "set_alpha_to_one", True) else 1
    return torch.cat([times[times > last], torch.tensor([last])])
