"""Records one sampling of a whole pipeline with diffusers, from prompts to pictures.

SanaPipeline, SanaSprintPipeline or SanaControlNetPipeline, as the repository's model_index.json says, runs in FP32; token ids,
embeddings, the schedule, the latent after each step, what the decoder got and gave, and the pictures become one safetensors
file, with a contract that names the weights of every component.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import capture
from capture import (
    EXIT_BAD_DATA, EXIT_NO_INPUT, EXIT_UNAVAILABLE, CaptureError, Parser, Tensors, first_line, positive, note,
)

try:
    import diffusers
    import numpy
    import torch
    import transformers
    from PIL import Image
except ImportError as error:
    print(f"capture: {error}: run `pip install torch diffusers transformers safetensors pillow` for {sys.executable}", file=sys.stderr)
    sys.exit(EXIT_UNAVAILABLE)

FORMAT, VERSION = "sana-pipeline", "2"
PIPELINES = ("SanaPipeline", "SanaSprintPipeline", "SanaControlNetPipeline")
SPRINT, CONTROLNET = "SanaSprintPipeline", "SanaControlNetPipeline"
# Components with weights, and what their files are called.
DIFFUSERS_STEM = "diffusion_pytorch_model"
STEMS = {"text_encoder": "model", "transformer": DIFFUSERS_STEM, "controlnet": DIFFUSERS_STEM, "vae": DIFFUSERS_STEM}
# Sample sizes that diffusers has a table of sizes for; of Sprint the first alone.
BINNED_SAMPLE_SIZES = (32, 16, 64, 128)


def component_weights(folder: Path, stem: str) -> dict[str, Any]:
    """The contract's description of a component's weights."""
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        weight_map = capture.read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or any(Path(name).name != name for name in weight_map.values()):
            raise CaptureError(EXIT_BAD_DATA, f"{index} has no weight_map of bare file names")
        return capture.describe_weights([folder / name for name in sorted(set(weight_map.values()))])
    return capture.describe_weights([folder / f"{stem}.safetensors"])


def load_pipeline(folder: Path) -> Any:
    index = capture.read_json(folder / "model_index.json")
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in PIPELINES:
        raise CaptureError(EXIT_BAD_DATA, f"{folder} holds a {name}, not a {', '.join(PIPELINES)}")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = getattr(diffusers, name).from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise CaptureError(EXIT_BAD_DATA, f"diffusers cannot load {folder}: {first_line(error)}") from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Recorder:
    """Keeps what passes between the stages of a pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self.prompts: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.embeds: tuple[Any, ...] = ()
        self.latents: list[torch.Tensor] = []
        self.noise: list[torch.Tensor] = []
        self.control: torch.Tensor | None = None
        self.decoded: tuple[torch.Tensor, torch.Tensor] | None = None
        # What the denoising networks got in the first step.
        self.denoised: dict[str, Tensors] = {}
        pipeline.text_encoder.register_forward_pre_hook(self.keep_prompt, with_kwargs=True)
        for component in ("transformer", "controlnet"):
            if (model := getattr(pipeline, component, None)) is not None:
                model.register_forward_pre_hook(self.keep_denoised(component), with_kwargs=True)
        self.wrap(pipeline, "encode_prompt", self.keep_embeds)
        self.wrap(pipeline, "prepare_latents", self.keep_start)
        self.wrap(pipeline.vae, "decode", self.keep_decoded)
        self.wrap(pipeline.vae, "encode", self.keep_control)
        self.start: torch.Tensor | None = None

    @staticmethod
    def wrap(owner: Any, name: str, keep: Any) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            keep(arguments, result)
            return result

        setattr(owner, name, wrapped)

    def keep_prompt(self, _module: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        # Recording modules runs it once more, with names.
        if arguments:
            self.prompts.append((arguments[0], options["attention_mask"]))

    def keep_denoised(self, component: str) -> Any:
        def keep(_module: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if component in self.denoised:
                return
            named = ({"hidden_states": arguments[0]} if arguments else {}) | options
            residuals = named.pop("controlnet_block_samples", None) or ()
            named |= {f"controlnet_block_samples.{index}": tensor for index, tensor in enumerate(residuals)}
            if "conditioning_scale" in named:
                named["conditioning_scale"] = torch.tensor([float(named["conditioning_scale"])])
            self.denoised[component] = {name: t.float().clone() for name, t in named.items() if isinstance(t, torch.Tensor)}

        return keep

    def keep_embeds(self, _arguments: Any, result: tuple[Any, ...]) -> None:
        self.embeds = result

    def keep_start(self, _arguments: Any, result: torch.Tensor) -> None:
        self.start = result.clone()

    def keep_control(self, _arguments: Any, result: Any) -> None:
        self.control = result.latent.clone()

    def keep_decoded(self, arguments: tuple[Any, ...], result: Any) -> None:
        self.decoded = (arguments[0].clone(), result[0].clone())

    def keep_step(self, _pipeline: Any, _step: int, _timestep: Any, tensors: Tensors) -> Tensors:
        self.latents.append(tensors["latents"].clone())
        return {}


def settings(pipeline: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the pipeline's call, defaults written out."""
    name = type(pipeline).__name__
    defaults = {key: value.default for key, value in inspect.signature(type(pipeline).__call__).parameters.items()}
    sample_size = pipeline.transformer.config.sample_size
    height, width = options.size or (sample_size * pipeline.vae_scale_factor,) * 2
    binned = sample_size in (BINNED_SAMPLE_SIZES[:1] if name == SPRINT else BINNED_SAMPLE_SIZES)
    result = {
        "prompt": options.prompt,
        "num_images_per_prompt": options.pictures,
        "num_inference_steps": options.steps or defaults["num_inference_steps"],
        "guidance_scale": options.guidance_scale,
        "height": height,
        "width": width,
        "use_resolution_binning": binned if options.resolution_binning is None else options.resolution_binning,
        "max_sequence_length": options.max_sequence_length,
        "complex_human_instruction": defaults["complex_human_instruction"],
    }
    if name == SPRINT:
        steps = result["num_inference_steps"]
        result |= {"max_timesteps": defaults["max_timesteps"], "intermediate_timesteps": defaults["intermediate_timesteps"] if steps == 2 else None}
    else:
        result["negative_prompt"] = options.negative_prompt
    if name == CONTROLNET:
        result["controlnet_conditioning_scale"] = options.conditioning_scale
    return result


def control_picture(pipeline: Any, path: Path | None) -> Any:
    if (type(pipeline).__name__ == CONTROLNET) != (path is not None):
        raise CaptureError(capture.EXIT_USAGE, "--control-picture needs a SanaControlNetPipeline, and is required for one")
    if path is None:
        return None
    try:
        return Image.open(path).convert("RGB")
    except OSError as error:
        raise CaptureError(EXIT_NO_INPUT, f"{path}: {first_line(error)}") from None


def sample(pipeline: Any, call: dict[str, Any], picture: Any, options: argparse.Namespace) -> tuple[Recorder, list[Any]]:
    """Runs the pipeline."""
    from diffusers.schedulers import scheduling_scm

    recorder = Recorder(pipeline)
    given = {} if options.latents is None else {"latents": capture.stored_inputs(options.latents)["latents"]}
    if picture is not None:
        given["control_image"] = picture
    original = scheduling_scm.randn_tensor

    def draw(*arguments: Any, **settings: Any) -> torch.Tensor:
        recorder.noise.append(original(*arguments, **settings))
        return recorder.noise[-1].clone()

    scheduling_scm.randn_tensor = draw
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = pipeline(
                **call, **given, generator=torch.Generator("cpu").manual_seed(options.seed), output_type="pil",
                callback_on_step_end=recorder.keep_step, callback_on_step_end_tensor_inputs=["latents"],
            ).images
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise CaptureError(EXIT_BAD_DATA, f"sampling failed: {first_line(error)}") from None
    finally:
        scheduling_scm.randn_tensor = original
    return recorder, images


def entries(pipeline: Any, recorder: Recorder, picture: Any, images: list[Any], steps: int) -> Tensors:
    """The tensors of the file, in order."""
    tensors: Tensors = {"inputs.latents": recorder.start.float()}
    for index, noise in enumerate(recorder.noise[: steps - 1]):
        tensors[f"inputs.noise.{index}"] = noise.float()
    if picture is not None:
        tensors["inputs.control_picture"] = torch.from_numpy(numpy.array(picture))
        tensors["control.latent"] = (recorder.control[:1] * pipeline.vae.config.scaling_factor).float()
    for position, (ids, mask) in enumerate(recorder.prompts):
        name = ("prompt", "negative")[position]
        embeds, embeds_mask = recorder.embeds[2 * position : 2 * position + 2]
        tensors |= {
            f"{name}.input_ids": ids.long(), f"{name}.attention_mask": mask.long(), f"{name}.prompt_embeds": embeds.float(),
            f"{name}.prompt_attention_mask": embeds_mask.long(),
        }
    tensors["schedule.timesteps"] = pipeline.scheduler.timesteps.float()
    if type(pipeline).__name__ != SPRINT:
        tensors["schedule.sigmas"] = pipeline.scheduler.sigmas.float()
    tensors |= {f"latents.{index}": latent.float() for index, latent in enumerate(recorder.latents)}
    decoded = recorder.decoded
    tensors |= {"decode.latent": decoded[0].float(), "decode.sample": decoded[1].float()}
    tensors["image"] = torch.from_numpy(numpy.stack([numpy.array(image.convert("RGB")) for image in images]))
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CaptureError(EXIT_BAD_DATA, f"{name} holds NaN or infinity")
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def module_goldens(
    pipeline: Any, recorder: Recorder, folder: Path, plans: dict[str, Any], whole: dict[str, Any]
) -> tuple[Tensors, dict[str, Any]]:
    """A golden of the first forward of each network, its names behind the network's, and their contracts."""
    ids, mask = recorder.prompts[0]
    text = {"input_ids": ids.long(), "attention_mask": mask.long()}
    inputs = {"text_encoder": text} | recorder.denoised | {"vae": {"latent": recorder.decoded[0].float()}}
    tensors: Tensors = {}
    contracts: dict[str, Any] = {}
    for component, values in inputs.items():
        model, plan = getattr(pipeline, component), plans[component]
        config = capture.read_json(folder / component / "config.json")
        contract = {
            "model_class": plan["class"], "config": config, "weights": whole["weights"][component],
            "compute_dtype": "float32", "numerics": "fp32", "producer": whole["producer"],
        }
        if component == "text_encoder":
            contract["attn_implementation"] = whole["attn_implementation"]
            contract["soft_cap"] = model.config.attn_logit_softcapping is not None and whole["attn_implementation"] != "sdpa"
        if plan["entry"]:
            contract["entry"] = plan["entry"]
        values = capture.checked_inputs(plan, values)
        activations, outputs = capture.run(model, values, "default", plan)
        contract["activations"] = [{"name": name, "shape": list(t.shape)} for name, t in activations.items()]
        contracts[component] = contract
        own = {f"inputs.{name}": t for name, t in values.items()} | activations | outputs
        tensors |= {f"modules.{component}.{name}": t.contiguous() for name, t in own.items()}
    return tensors, contracts


def record(options: argparse.Namespace) -> dict[str, Any]:
    capture.check_request(options)
    folder, output = options.model, options.output
    pipeline = load_pipeline(folder)
    call = settings(pipeline, options)
    picture = control_picture(pipeline, options.control_picture)
    if not options.quiet:
        note("sampling")
    recorder, images = sample(pipeline, call, picture, options)
    scheduler = {key: value for key, value in pipeline.scheduler.config.items() if not key.startswith("_")}
    name = type(pipeline).__name__
    components = [component for component in STEMS if component != "controlnet" or name == CONTROLNET]
    contract = {
        "pipeline_class": name,
        "steps": call["num_inference_steps"],
        **{key: value for key, value in call.items() if key != "num_inference_steps"},
        "clean_caption": False,
        "scheduler": capture.finite_json(scheduler | {"_class_name": type(pipeline.scheduler).__name__}),
        "scaling_factor": pipeline.vae.config.scaling_factor,
        "attn_implementation": pipeline.text_encoder.config._attn_implementation,
        "compute_dtype": "float32",
        "numerics": "fp32",
        "weights": {component: component_weights(folder / component, STEMS[component]) for component in components},
        "tokenizer_sha256": hashlib.sha256((folder / "tokenizer" / "tokenizer.json").read_bytes()).hexdigest(),
        "producer": {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__},
    }
    tensors = entries(pipeline, recorder, picture, images, contract["steps"])
    if options.modules is not None:
        modules, contract["modules"] = module_goldens(pipeline, recorder, folder, json.loads(options.modules), contract)
        tensors |= modules
    capture.write_golden(options, FORMAT, VERSION, contract, tensors)
    return {"output": str(output), "steps": contract["steps"], "pictures": len(images), "producer": contract["producer"]}


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="capture", description="Record a whole sampling of a Sana pipeline with diffusers.")
    parser.add_argument("model", type=Path, metavar="MODEL_DIR", help="repository with model_index.json")
    capture.add_common_arguments(parser)
    parser.add_argument("--prompt", action="append", required=True, metavar="TEXT", help="repeatable")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT")
    parser.add_argument("--pictures", type=positive, default=1, metavar="N", help="pictures of each prompt")
    parser.add_argument("--steps", type=positive, metavar="N")
    parser.add_argument("--guidance-scale", type=float, default=capture.DEFAULT_GUIDANCE_SCALE, metavar="G")
    parser.add_argument("--size", type=capture.latent_size, metavar="HxW", help="pixels (default: the model's own size)")
    parser.add_argument("--resolution-binning", action=argparse.BooleanOptionalAction)
    parser.add_argument("--max-sequence-length", type=positive, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of torch's generator")
    parser.add_argument("--latents", type=Path, metavar="FILE", help="safetensors file with inputs.latents, in place of a seed")
    parser.add_argument("--control-picture", type=Path, metavar="FILE")
    parser.add_argument("--conditioning-scale", type=float, default=1.0, metavar="S")
    parser.add_argument("--modules", metavar="JSON", help="record the networks' modules, too: the plan of each network")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(capture.exit_code(record, parse_arguments()))
