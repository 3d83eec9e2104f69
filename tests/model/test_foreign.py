"""Foreign models as denoisers: diffusers' own loops, closed forms, and what is refused."""

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)

from diffnotes import Chain, Exact, GaussianMixture, Linear, ddim, ddpm, ode, prior
from diffnotes.model.foreign import from_diffusers, from_function, times_of

TARGETS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def made(out=2, **more):
    """A small network of diffusers."""
    torch.manual_seed(3)
    net = UNet2DModel(sample_size=8, in_channels=2, out_channels=out, block_out_channels=(8, 16), norm_num_groups=4,
                      down_block_types=("DownBlock2D", "AttnDownBlock2D"), layers_per_block=1,
                      up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8, **more)  # fmt: skip
    return net.eval()


@pytest.fixture(scope="module")
def unet():
    """One whose answer is of the size of its input."""
    return made()


def start(n=3):
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def theirs(unet, scheduler, x, given=(), **options):
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = unet(scheduler.scale_model_input(x, t), t, **dict(given)).sample
            x = scheduler.step(y, t, x, **options).prev_sample
    return x


def near(found, expected, tolerance=1e-5):
    """To 1e-5 of the size of the samples: their tables are float32."""
    assert float((found - expected).abs().max()) <= tolerance * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("variance, own", [("fixed_small", "beta_tilde"), ("fixed_large", "beta")])
def test_ancestral_sampling_is_that_of_diffusers(unet, prediction, variance, own):
    scheduler = DDPMScheduler(100, prediction_type=prediction, variance_type=variance, clip_sample=False,
                              beta_start=1e-3, beta_end=0.1)
    scheduler.set_timesteps(25)
    denoiser = from_diffusers(unet, scheduler)
    assert denoiser.target == TARGETS[prediction] and denoiser.schedule.T == 100
    expected = theirs(unet, scheduler, start(), generator=torch.Generator().manual_seed(5))
    near(ddpm(denoiser, start(), times_of(scheduler), 5, variance=own), expected)
    assert float((ddpm(denoiser, start(), times_of(scheduler) - (times_of(scheduler) > 1).long(), 5)
                  - expected).abs().max()) > 1e-3  # a timestep off by one is seen


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("spacing, first", [("leading", True), ("trailing", True), ("leading", False)])
def test_ddim_is_that_of_diffusers(unet, prediction, spacing, first):
    scheduler = DDIMScheduler(1000, prediction_type=prediction, clip_sample=False, timestep_spacing=spacing,
                              set_alpha_to_one=first, steps_offset=0 if first else 1)
    scheduler.set_timesteps(20)
    times = times_of(scheduler)
    assert times[-1] == (0 if first else 1)
    near(ddim(from_diffusers(unet, scheduler), start(), times), theirs(unet, scheduler, start()))


@pytest.mark.parametrize("prediction", TARGETS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_is_their_euler(unet, prediction, spacing):
    """The step of Euler in x/alpha over sigma/alpha is that of DDIM."""
    scheduler = EulerDiscreteScheduler(1000, prediction_type=prediction, timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    denoiser, times = from_diffusers(unet, scheduler), times_of(scheduler)
    alpha = float(denoiser.schedule.alpha_bar[int(times[0])].sqrt())
    expected = theirs(unet, scheduler, start() * scheduler.init_noise_sigma)
    near(ddim(denoiser, alpha * start() * scheduler.init_noise_sigma, times), expected)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 0.02)])
def test_a_model_of_classes_in_its_own_dtype(dtype, tolerance):
    net, scheduler = made(num_class_embeds=5), DDIMScheduler(1000, clip_sample=False)
    scheduler.set_timesteps(10)
    expected = theirs(net, scheduler, start(), {"class_labels": torch.full((3,), 3)})
    net.to(dtype)
    found, other = (ddim(from_diffusers(net, scheduler, given={"class_labels": torch.tensor([label])}), start(),
                         times_of(scheduler)) for label in (3, 1))  # fmt: skip
    assert found.dtype == torch.float32
    near(found, expected, tolerance)
    assert float((other - found).abs().max()) > 0.05 * float(found.abs().max())


@pytest.mark.parametrize("scheduler, words", [
    (EulerDiscreteScheduler(), r"timesteps\[1\] = 946.421 of EulerDiscreteScheduler; allowed: whole numbers >= 0"),
    (PNDMScheduler(), r"timesteps\[2\] = 925 of PNDMScheduler; .* each below the one before"),
    (DDIMInverseScheduler(), r"timesteps\[1\] = 50 of DDIMInverseScheduler"),
    (EDMEulerScheduler(), r"timesteps\[0\] = 1.09551 of EDMEulerScheduler"),
])  # fmt: skip
def test_steps_that_our_samplers_cannot_take_are_refused(scheduler, words):
    """Cut to whole times they would be other steps, or none."""
    scheduler.set_timesteps(20)
    with pytest.raises(ValueError, match=words):
        times_of(scheduler)


@pytest.mark.parametrize("prediction", TARGETS)
def test_clipping_is_that_of_diffusers(unet, prediction):
    scheduler = DDPMScheduler(100, prediction_type=prediction, clip_sample_range=0.3)  # clips by default
    scheduler.set_timesteps(10)
    options = {"generator": torch.Generator().manual_seed(5)}
    expected = theirs(unet, scheduler, start(), **options)
    near(ddpm(from_diffusers(unet, scheduler), start(), times_of(scheduler), 5), expected)
    loose = ddpm(from_diffusers(unet, scheduler, clip=False), start(), times_of(scheduler), 5)
    assert float((loose - expected).abs().max()) > 0.1
    steps = DDIMScheduler(100, prediction_type=prediction, clip_sample_range=0.3)
    steps.set_timesteps(10)
    near(ddim(from_diffusers(unet, steps), start(), times_of(steps)),  # their (x - alpha x_0)/sigma has few digits
         theirs(unet, steps, start(), use_clipped_model_output=True), 5e-5)


def test_flat_samples_and_blocks_of_rows_give_the_same(unet):
    scheduler = DDIMScheduler(50, clip_sample=False)
    scheduler.set_timesteps(5)
    denoiser = from_diffusers(unet, scheduler)
    whole = ddim(denoiser, start(), times_of(scheduler))
    flat = ddim(denoiser, start().flatten(1), times_of(scheduler), rows=2)
    torch.testing.assert_close(flat, whole.flatten(1), rtol=1e-5, atol=1e-5)
    assert denoiser.x0(start().double(), 3).dtype == torch.float64  # asked in float32, answered in the dtype of x
    assert denoiser.x0(start().half(), 3).dtype == torch.float16


def test_conditions_of_one_row_serve_all_samples():
    def model(x, t, label, scale):
        assert label.shape == (len(x), 1) and t.dtype == torch.int64 and t.shape == (len(x),)
        return scale * x + label[..., None, None] + t[:, None, None, None]

    scheduler = DDPMScheduler(10, clip_sample=False)
    given = {"label": torch.tensor([[2.0]]), "scale": 3.0}
    denoiser = from_diffusers(model, scheduler, (1, 2, 2), given)
    x = torch.ones(4, 1, 2, 2)
    torch.testing.assert_close(denoiser.eps(x, 7), torch.full_like(x, 3 + 2 + 6))
    torch.testing.assert_close(denoiser.eps(x, torch.tensor([1, 2, 3, 10]))[:, 0, 0, 0], torch.tensor([5., 6, 7, 14]))
    wrong = from_diffusers(model, scheduler, (1, 2, 2), {"label": torch.zeros(4, 1), "scale": 1.0})
    with pytest.raises(ValueError, match=r"label has shape \(4, 1\); allowed: one row"):
        wrong.eps(x, 7)


@pytest.mark.parametrize("target", ["x0", "eps", "v", "score"])
def test_a_function_is_the_denoiser_it_computes(target):
    """The exact predictions of a mixture through a function in another clock: the exact sampler's samples."""
    exact = Exact(GaussianMixture([[-1.0, 0.0], [1.0, 0.5]], 0.3), Linear())
    denoiser = from_function(lambda x, t: exact.read(target, x, t / 1000), 2, target, Linear(), lambda t: 1000 * t)
    x, times = prior(Linear(), (50, 2), 0, dtype=torch.float64), torch.linspace(1, 0.01, 20, dtype=torch.float64)
    torch.testing.assert_close(ode(denoiser, x, times), ode(exact, x, times), rtol=1e-10, atol=1e-10)


def test_what_is_not_supported_is_named(unet):
    for options, words in (
        ({"prediction_type": "flow"}, "prediction_type = 'flow' of DDPMScheduler; allowed: epsilon"),
        ({"thresholding": True}, "thresholding = True"),
        ({"variance_type": "learned_range"}, "variance_type = 'learned_range'"),
        ({"rescale_betas_zero_snr": True}, "a terminal SNR of zero"),
    ):
        with pytest.raises(ValueError, match=words):
            from_diffusers(unet, DDPMScheduler(50, **options))
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler; allowed: schedulers with betas"):
        from_diffusers(unet, FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="alphas_cumprod of CogVideoXDDIMScheduler are not the products"):
        from_diffusers(unet, CogVideoXDDIMScheduler())
    with pytest.raises(ValueError, match=r"answer to 3 samples is \(3, 4, 8, 8\); .*learned variances"):
        from_diffusers(made(out=4), DDPMScheduler(50)).x0(start(), 3)
    with pytest.raises(ValueError, match="no in_channels and sample_size"):
        from_diffusers(lambda x, t: x, DDPMScheduler(50))
    with pytest.raises(ValueError, match="after set_timesteps"):
        times_of(DDPMScheduler(50))
    with pytest.raises(TypeError, match="model = 3"):
        from_diffusers(3, DDPMScheduler(50))
    twice = from_diffusers(lambda x, t: torch.cat([x, x], 1), DDPMScheduler(50), (2, 8, 8))
    with pytest.raises(ValueError, match="learned variances"):
        twice.x0(start(), 3)
    with pytest.raises(ValueError, match=r"x has shape \(3, 2, 4, 4\); allowed: \(n, 2, 8, 8\) or \(n, 128\)"):
        twice.x0(torch.zeros(3, 2, 4, 4), 3)
    for f, target, schedule, error in ((3, "x0", Linear(), TypeError), (len, "mean", Linear(), ValueError),
                                       (len, "x0", None, TypeError)):
        with pytest.raises(error, match="allowed"):
            from_function(f, 2, target, schedule)
    with pytest.raises(ValueError, match="shape = 0"):
        from_function(len, 0, "x0", Chain.linear(10))
    with pytest.raises(ValueError, match="allowed: a number, or one for each of 5 samples"):
        from_function(lambda x, t: x, 2, "x0", Linear()).x0(torch.zeros(5, 2), torch.zeros(4))
