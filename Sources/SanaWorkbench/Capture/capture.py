"""Records golden activations of a network of a Sana pipeline with diffusers or transformers, or trajectories.

One forward pass, in FP32 unless told otherwise, seen through forward hooks, becomes one safetensors file: the
inputs, the output of every captured module in execution order, and a contract which names the weights that
produced them. What a network's inputs, outputs and modules are, sana-tools says in --plan. With --trajectory, diffusers' SanaPipeline samples, or SanaSprintPipeline where the model embeds
guidance, and the latent after each step is kept.
The same weights, inputs and packages give the same bytes.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import math
import os
import re
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

EXIT_USAGE, EXIT_BAD_DATA, EXIT_NO_INPUT, EXIT_UNAVAILABLE, EXIT_CANNOT_CREATE = 64, 65, 66, 69, 73

try:
    import diffusers
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
except ImportError as error:
    print(f"capture: {error}: run `pip install torch diffusers safetensors` for {sys.executable}", file=sys.stderr)
    sys.exit(EXIT_UNAVAILABLE)

# File names of weights: diffusers' and transformers'.
WEIGHTS_STEMS = ("diffusion_pytorch_model", "model")
MAX_HEADER_BYTES = 100_000_000
HASH_CHUNK_BYTES = 8 << 20

# Inputs that options of the same names give.
INPUT_OPTIONS = ("timestep", "guidance", "conditioning_scale")
KEPT_TOKEN_SHARE = 0.7

COMPUTE_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# The network that diffusers' pipelines sample with.
TRAJECTORY_CLASS = "SanaTransformer2DModel"
TRAJECTORY_INPUTS = ("latents", "prompt_embeds", "prompt_attention_mask")
NEGATIVE_INPUTS = ("negative_prompt_embeds", "negative_prompt_attention_mask")
NOISE_PREFIX = "noise."
DEFAULT_STEPS = 20
DEFAULT_SPRINT_STEPS = 2
# SanaSprintPipeline's own.
MAX_TIMESTEPS, INTERMEDIATE_TIMESTEPS = 1.57080, 1.3
DEFAULT_GUIDANCE_SCALE = 4.5
PIXELS_PER_LATENT = 32
# Models up to this size get their gradients taken, which needs several times the memory of a forward.
MAX_GRADIENT_PARAMETERS = 50_000_000
# What released Sana repositories have in scheduler/scheduler_config.json.
DEFAULT_SCHEDULER = {
    "_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "flow_prediction",
    "flow_shift": 3.0, "solver_order": 2, "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero",
}
DEFAULT_SPRINT_SCHEDULER = {"_class_name": "SCMScheduler", "prediction_type": "trigflow", "sigma_data": 0.5}

Tensors = dict[str, torch.Tensor]
Plan = dict[str, Any]


class CaptureError(Exception):
    """A failure the user can act on: one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# MARK: The checkpoint


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor's bytes lie, as its file's own header says."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    size: int


def read_json(path: Path) -> Any:
    """The JSON document at `path`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaptureError(EXIT_NO_INPUT, f"{path} does not exist") from None
    except ValueError as error:
        raise CaptureError(EXIT_BAD_DATA, f"{path} is not JSON: {error}") from None


def weights_stem(folder: Path) -> str:
    """What the weights in `folder` are called: transformers' name where there are no others."""
    return next((stem for stem in WEIGHTS_STEMS if any(folder.glob(f"{stem}*.safetensors"))), WEIGHTS_STEMS[0])


def index_names(stem: str, variant: str | None) -> list[str]:
    """Index file names which diffusers looks for, in its order (the last one is its older spelling)."""
    if variant is None:
        return [f"{stem}.safetensors.index.json"]
    return [f"{stem}.safetensors.index.{variant}.json", f"{stem}.safetensors.{variant}.index.json"]


def variants_in(folder: Path) -> set[str | None]:
    """The variants which `folder` holds whole weights or an index for; None is the unnamed one."""
    stem = weights_stem(folder)
    single = re.compile(rf"{stem}(?:\.(?P<variant>[^.]+))?\.safetensors")
    index = re.compile(rf"{stem}\.safetensors(?:\.(?P<old>[^.]+))?\.index(?:\.(?P<new>[^.]+))?\.json")
    shard = re.compile(r".*-\d{5}-of-\d{5}")
    found: set[str | None] = set()
    for path in folder.iterdir():
        if match := index.fullmatch(path.name):
            found.add(match["old"] or match["new"])
        elif match := single.fullmatch(path.name):
            if not shard.fullmatch(match["variant"] or ""):
                found.add(match["variant"])
    return found


def choose_variant(folder: Path, wanted: str | None) -> str | None:
    """`wanted`; without it the unnamed variant, or else the only one there."""
    found = variants_in(folder)
    if wanted is not None:
        if wanted not in found:
            raise CaptureError(EXIT_NO_INPUT, f"{folder} has no variant {wanted!r}")
        return wanted
    if None in found:
        return None
    if len(found) != 1:
        names = ", ".join(sorted(name for name in found if name))
        several = f"several variants ({names}): choose one with --variant"
        raise CaptureError(EXIT_NO_INPUT, f"{folder} holds {several if found else f'no {weights_stem(folder)}*.safetensors'}")
    return found.pop()


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files which diffusers would read for `variant`: an index goes before a single file."""
    stem = weights_stem(folder)
    for name in index_names(stem, variant):
        index = folder / name
        if index.exists():
            document = read_json(index)
            weight_map = document.get("weight_map") if isinstance(document, dict) else None
            if not isinstance(weight_map, dict) or not weight_map:
                raise CaptureError(EXIT_BAD_DATA, f"{index} has no weight_map")
            files = sorted(set(weight_map.values()))
            if any(Path(file).name != file for file in files):
                raise CaptureError(EXIT_BAD_DATA, f"{index} names a shard outside its directory")
            return [folder / file for file in files]
    suffix = f".{variant}" if variant else ""
    return [folder / f"{stem}{suffix}.safetensors"]


def stored_tensors(path: Path) -> Iterator[StoredTensor]:
    """The tensors of one safetensors file, from its header alone."""
    if not path.exists():
        raise CaptureError(EXIT_NO_INPUT, f"{path} does not exist")
    file_size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, file_size - 8):
            raise CaptureError(EXIT_BAD_DATA, f"{path} is not a safetensors file")
        try:
            header = json.loads(file.read(length))
            entries = [
                (name, entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
                for name, entry in header.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CaptureError(EXIT_BAD_DATA, f"{path} has a broken safetensors header") from None
    for name, dtype, shape, begin, end in entries:
        if not 0 <= begin <= end <= file_size - 8 - length:
            raise CaptureError(EXIT_BAD_DATA, f"{path}: tensor {name!r} is outside the file")
        yield StoredTensor(name, dtype, shape, path, 8 + length + begin, end - begin)


def content_digest(tensor: StoredTensor) -> bytes:
    """SHA-256 of a tensor's bytes as stored."""
    digest = hashlib.sha256()
    remaining = tensor.size
    with tensor.file.open("rb") as file:
        file.seek(tensor.offset)
        while remaining:
            chunk = file.read(min(remaining, HASH_CHUNK_BYTES))
            if not chunk:
                raise CaptureError(EXIT_BAD_DATA, f"{tensor.file} ends inside tensor {tensor.name!r}")
            digest.update(chunk)
            remaining -= len(chunk)
    return digest.digest()


def describe_weights(files: list[Path]) -> dict[str, Any]:
    """The contract's `weights`: the dtype most elements have, a digest independent of sharding and order, and the
    SHA-256 of each tensor."""
    tensors = sorted((t for file in files for t in stored_tensors(file)), key=lambda t: t.name.encode())
    names = Counter(tensor.name for tensor in tensors)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise CaptureError(EXIT_BAD_DATA, f"{files[0].parent}: tensor {repeated[0]!r} is stored more than once")
    digest = hashlib.sha256()
    elements: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    for tensor in tensors:
        shape = ",".join(map(str, tensor.shape))
        for field in (tensor.name, tensor.dtype, shape):
            digest.update(field.encode() + b"\0")
        content = content_digest(tensor)
        digest.update(content)
        hashes[tensor.name] = content.hex()
        count = 1
        for extent in tensor.shape:
            count *= extent
        elements[tensor.dtype] += count
    dominant = min(elements, key=lambda dtype: (-elements[dtype], dtype), default="F32")
    return {"dtype": dominant, "digest": digest.hexdigest(), "tensors": hashes}


def load_model(folder: Path, plan: Plan, variant: str | None, dtype: torch.dtype) -> torch.nn.Module:
    """The model in `dtype`; a checkpoint that does not fill it exactly is refused."""
    if read_json(folder / "config.json").get("quantization_config"):
        raise CaptureError(EXIT_BAD_DATA, f"{folder} is quantized: capture the checkpoint that it was made from")
    problems = ["missing_keys", "mismatched_keys"]
    if hasattr(diffusers, plan["class"]):
        library, problems = diffusers, [*problems, "unexpected_keys"]
        options = {"torch_dtype": dtype}
    else:
        # Other ways of attending leave out what scores go through. A head's weights are passed over.
        library, options = import_transformers(), {"dtype": dtype, "attn_implementation": "eager"}
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    try:
        model, report = getattr(library, plan["class"]).from_pretrained(
            folder, variant=variant, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise CaptureError(EXIT_BAD_DATA, f"{library.__name__} cannot load {folder}: {first_line(error)}") from None
    for problem in problems:
        if report.get(problem):
            raise CaptureError(EXIT_BAD_DATA, f"{folder}: {problem.replace('_', ' ')}: {sorted(report[problem])[:3]}")
    return model.eval()


def import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise CaptureError(EXIT_UNAVAILABLE, f"{error}: run `pip install transformers` for {sys.executable}") from None
    return transformers


# MARK: Inputs


def stored_inputs(path: Path) -> Tensors:
    """The tensors `inputs.*` of a safetensors file in FP32, without the prefix; others are passed over."""
    if not path.exists():
        raise CaptureError(EXIT_NO_INPUT, f"{path} does not exist")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise CaptureError(EXIT_BAD_DATA, f"{path}: {first_line(error)}") from None
    prefix = "inputs."
    return {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}


def per_sample(values: list[float], batch: int, option: str) -> torch.Tensor:
    """One value for each sample, from as many values or from one for all."""
    if len(values) not in (1, batch):
        raise CaptureError(EXIT_USAGE, f"{option} takes 1 value or {batch} (one for each sample), got {len(values)}")
    return torch.tensor(values, dtype=torch.float32).expand(batch).contiguous()


def random_mask(batch: int, tokens: int, generator: torch.Generator) -> torch.Tensor:
    """A 0/1 mask: every row keeps a token and, where it has two, drops one."""
    mask = (torch.rand(batch, tokens, generator=generator) < KEPT_TOKEN_SHARE).float()
    for row in mask:
        order = torch.randperm(tokens, generator=generator)
        row[order[-1]] = 0
        row[order[0]] = 1
    return mask


def synthetic_inputs(plan: Plan, options: argparse.Namespace) -> Tensors:
    """Inputs which depend on the seed, the shapes and the configuration only."""
    generator = torch.Generator().manual_seed(options.seed or 0)
    names = {spec["name"] for spec in plan["inputs"]}
    for name in INPUT_OPTIONS:
        if getattr(options, name) and name not in names:
            raise CaptureError(EXIT_USAGE, f"--{name.replace('_', '-')}: this {plan['class']} does not take it")
    inputs: Tensors = {}
    for spec in plan["inputs"]:
        name, shape, filling = spec["name"], spec.get("shape"), spec["filling"]
        if given := getattr(options, name, None) if name in INPUT_OPTIONS else None:
            inputs[name] = per_sample(given, shape[0], f"--{name.replace('_', '-')}")
        elif filling == "normal":
            inputs[name] = torch.randn(*shape, generator=generator)
        elif filling == "whole":
            inputs[name] = torch.randint(0, spec["below"], shape, generator=generator)
        elif filling == "mask":
            inputs[name] = random_mask(*shape, generator)
        elif filling == "constant":
            inputs[name] = torch.full(shape, spec["value"], dtype=torch.int64 if spec["integer"] else torch.float32)
    return inputs


def checked_inputs(plan: Plan, inputs: Tensors) -> Tensors:
    """`inputs` checked for names, in the plan's order."""
    if missing := [spec["name"] for spec in plan["inputs"] if spec["required"] and spec["name"] not in inputs]:
        raise CaptureError(EXIT_BAD_DATA, f"missing input: {', '.join(f'inputs.{name}' for name in missing)}")
    checked: Tensors = {}
    for spec in plan["inputs"]:
        name = spec["name"]
        base, index = numbered(name)
        if name not in inputs or index and f"{base}.{index - 1}" not in checked:
            continue
        if spec["scalar"] and inputs[name].shape != (1,):
            raise CaptureError(EXIT_BAD_DATA, f"inputs.{name} is not one number, of shape [1]")
        checked[name] = (inputs[name].long() if spec["integer"] else inputs[name]).contiguous()
    if unknown := sorted(inputs.keys() - checked.keys()):
        raise CaptureError(EXIT_BAD_DATA, f"unknown or badly numbered input: inputs.{unknown[0]}")
    return checked


def numbered(name: str) -> tuple[str, int | None]:
    """The name of a list and the place in it of what is called `list.3`."""
    base, _, index = name.rpartition(".")
    return (base, int(index)) if index.isdigit() else (name, None)


# MARK: The forward pass


class Recorder:
    """Keeps what modules return, in the order in which they return."""

    def __init__(self, model: torch.nn.Module, counts: dict[str, int | None]) -> None:
        """Counts are of the outputs of each module, of all its calls together; of None, one call's count."""
        self.counts = counts
        self.outputs: dict[str, list[torch.Tensor]] = {}
        self.calls: Counter[str] = Counter()
        self.tuples: set[str] = set()
        for path in counts:
            model.get_submodule(path).register_forward_hook(self.hook(path))

    def hook(self, path: str) -> Any:
        """A forward hook which records under `path`."""

        def record(_module: torch.nn.Module, _args: Any, output: Any) -> None:
            self.calls[path] += 1
            if isinstance(output, tuple):
                self.tuples.add(path)
            parts = output if isinstance(output, tuple) else (output,)
            kept = self.outputs.setdefault(path, [])
            # Attention returns its scores, too, where it has them.
            if (count := self.counts[path]) is not None:
                parts = parts[: count - len(kept)]
            kept.extend(part.detach().float().contiguous().clone() for part in parts)

        return record

    def activations(self) -> Tensors:
        """One tensor for each output; a leaf called more than once has no single output and is left out."""
        named: Tensors = {}
        for path, parts in self.outputs.items():
            count = self.counts[path]
            if count is None and self.calls[path] > 1:
                continue
            is_numbered = path in self.tuples if count is None else count > 1
            for index, part in enumerate(parts):
                named[f"activations.{path}.{index}" if is_numbered else f"activations.{path}"] = part
        return named


def output_counts(model: torch.nn.Module, detail: str, plan: Plan) -> dict[str, int | None]:
    """The modules to record, with the counts of their outputs."""
    counts: dict[str, int | None] = dict(plan["modules"])
    if detail == "full":
        leaves = (path for path, module in model.named_modules() if not any(module.children()))
        counts |= {path: plan["leaves"].get(path) for path in leaves if path not in counts and takes_part(path, plan)}
    return counts


def takes_part(path: str, plan: Plan) -> bool:
    """Whether a module or parameter belongs to the forward: decoding runs nothing of an encoder."""
    return plan["entry"] is None or path.split(".")[0] in {module.split(".")[0] for module in plan["modules"]}


def forward(model: torch.nn.Module, inputs: Tensors, plan: Plan) -> Tensors:
    """The outputs of one forward pass, by their names in goldens."""
    specs = {spec["name"]: spec for spec in plan["inputs"]}
    arguments: dict[str, Any] = {}
    for name, tensor in inputs.items():
        value = tensor.to(model.dtype) if specs[name]["rounded"] else tensor
        base, index = numbered(name)
        if index is not None:
            arguments[base] = (*arguments.get(base, ()), value)
        else:
            arguments[name] = value.item() if specs[name]["scalar"] else value
    if getattr(model.config, "use_cache", False):
        arguments["use_cache"] = False
    # Other forwards than the usual one have one input each, whatever they call it.
    result = getattr(model, plan["entry"])(*arguments.values()) if plan["entry"] else model(**arguments)

    def output(name: str) -> torch.Tensor:
        base, index = numbered(name)
        return result[base] if index is None else result[base][index]

    return {f"outputs.{name}": output(name) for name in plan["outputs"]}


def blind_weights(model: torch.nn.Module, inputs: Tensors, plan: Plan) -> list[str]:
    """Names of the weights whose change moves no output with these inputs: faults in them stay unseen.

    Found by their gradients; of models too large for that, nothing is said.
    """
    if sum(parameter.numel() for parameter in model.parameters()) > MAX_GRADIENT_PARAMETERS:
        return []
    # In float64, whose rounding is far below any effect; widening and narrowing give the same weights again.
    dtype, generator = model.dtype, torch.Generator().manual_seed(0)
    model.double()
    with torch.enable_grad():
        try:
            outputs = forward(model, inputs, plan)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise CaptureError(EXIT_BAD_DATA, f"the forward pass failed: {first_line(error)}") from None
        parts = [(tensor * torch.randn(tensor.shape, generator=generator).double()).sum() for tensor in outputs.values()]
        torch.stack(parts).sum().backward()
    effects = {
        name: 0.0 if parameter.grad is None else parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if takes_part(name, plan)
    }
    model.zero_grad(set_to_none=True)
    model.to(dtype)
    floor = 1e-12 * max(effects.values(), default=0.0)
    return sorted(name for name, effect in effects.items() if effect <= floor)


def run(model: torch.nn.Module, inputs: Tensors, detail: str, plan: Plan) -> tuple[Tensors, Tensors]:
    """The recorded activations and the outputs of one forward pass."""
    recorder = Recorder(model, output_counts(model, detail, plan))
    try:
        with torch.inference_mode():
            outputs = forward(model, inputs, plan)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise CaptureError(EXIT_BAD_DATA, f"the forward pass failed: {first_line(error)}") from None
    activations = recorder.activations()
    for name, tensor in {**activations, **outputs}.items():
        if not torch.isfinite(tensor).all():
            raise CaptureError(EXIT_BAD_DATA, f"{name} holds NaN or infinity")
    return activations, {name: tensor.float().contiguous() for name, tensor in outputs.items()}


# MARK: Trajectories


def scheduler_config(options: argparse.Namespace, is_sprint: bool) -> dict[str, Any]:
    """The configuration given, else the repository's own, else that of released repositories of the model's kind."""
    own = options.model.parent / "scheduler" / "scheduler_config.json"
    path = options.scheduler or (own if own.exists() else None)
    if path is None:
        return dict(DEFAULT_SPRINT_SCHEDULER if is_sprint else DEFAULT_SCHEDULER)
    config = read_json(path / "scheduler_config.json" if path.is_dir() else path)
    if not isinstance(config, dict):
        raise CaptureError(EXIT_BAD_DATA, f"{path} is not an object")
    return config


def make_scheduler(config: dict[str, Any], is_sprint: bool) -> Any:
    """One of the schedulers that sana-tools follows."""
    names = ("SCMScheduler",) if is_sprint else ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
    name = config.get("_class_name")
    if name not in names:
        raise CaptureError(EXIT_BAD_DATA, f"the scheduler is a {name}, not a {' or '.join(names)}")
    return getattr(diffusers, name).from_config(config)


def sprint_inputs(plan: Plan, options: argparse.Namespace) -> Tensors:
    """The same for SanaSprintPipeline: no negative prompt, and the noise between steps, drawn where it is not stored."""
    if options.inputs:
        inputs = stored_inputs(options.inputs)
    else:
        made = synthetic_inputs(plan, options)
        inputs = {
            "latents": made["hidden_states"],
            "prompt_embeds": made["encoder_hidden_states"],
            "prompt_attention_mask": made["encoder_attention_mask"],
        }
    if missing := [name for name in TRAJECTORY_INPUTS if name not in inputs]:
        raise CaptureError(EXIT_BAD_DATA, f"missing input: {', '.join(f'inputs.{name}' for name in missing)}")
    draws = [f"{NOISE_PREFIX}{step}" for step in range(options.steps - 1)]
    if not any(name.startswith(NOISE_PREFIX) for name in inputs):
        generator = torch.Generator().manual_seed((options.seed or 0) + 1)
        inputs |= {name: torch.randn(inputs["latents"].shape, generator=generator) for name in draws}
    order = [*TRAJECTORY_INPUTS, *draws]
    if unknown := sorted(inputs.keys() ^ set(order)):
        wanted = f"{options.steps} steps take {len(draws)} entries inputs.noise.*"
        raise CaptureError(EXIT_BAD_DATA, f"missing or unknown input: inputs.{unknown[0]}; {wanted}")
    return {name: inputs[name].contiguous() for name in order}


def trajectory_inputs(plan: Plan, options: argparse.Namespace) -> Tensors:
    """The stored inputs, or ones that depend on the seed, the shapes and the configuration only."""
    if options.inputs:
        inputs = stored_inputs(options.inputs)
    else:
        made = synthetic_inputs(plan, options)
        empty = torch.zeros_like(made["encoder_hidden_states"])
        inputs = {
            "latents": made["hidden_states"],
            "prompt_embeds": made["encoder_hidden_states"],
            "prompt_attention_mask": made["encoder_attention_mask"],
            "negative_prompt_embeds": empty,
            "negative_prompt_attention_mask": torch.ones(empty.shape[:2]),
        }
    order = TRAJECTORY_INPUTS + (NEGATIVE_INPUTS if options.guidance_scale > 1 else ())
    if missing := [name for name in order if name not in inputs]:
        raise CaptureError(EXIT_BAD_DATA, f"missing input: {', '.join(f'inputs.{name}' for name in missing)}")
    if unknown := sorted(inputs.keys() - set(TRAJECTORY_INPUTS + NEGATIVE_INPUTS)):
        raise CaptureError(EXIT_BAD_DATA, f"unknown input: inputs.{unknown[0]}")
    return {name: inputs[name].contiguous() for name in order}


def sample_latents(
    pipeline_class: Any, model: torch.nn.Module, scheduler: Any, inputs: Tensors, options: argparse.Namespace,
    **arguments: Any,
) -> tuple[Tensors, torch.Tensor, Any]:
    """Runs a pipeline of diffusers on latents: the one after each step, what it would give to the decoder, its scheduler."""
    pipeline = pipeline_class(tokenizer=None, text_encoder=None, vae=None, transformer=model, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    latents: Tensors = {}

    def keep(_pipeline: Any, step: int, _timestep: Any, tensors: Tensors) -> Tensors:
        latents[f"latents.{step}"] = tensors["latents"].float().contiguous().clone()
        return {}

    height, width = inputs["latents"].shape[2:]
    try:
        final = pipeline(
            prompt=None, num_inference_steps=options.steps, guidance_scale=options.guidance_scale,
            height=height * PIXELS_PER_LATENT, width=width * PIXELS_PER_LATENT, output_type="latent",
            use_resolution_binning=False, callback_on_step_end=keep,
            callback_on_step_end_tensor_inputs=["latents"], **arguments,
        ).images
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise CaptureError(EXIT_BAD_DATA, f"sampling failed: {first_line(error)}") from None
    return latents, final.float().contiguous(), pipeline.scheduler


def require_finite(latents: Tensors) -> None:
    for name, tensor in latents.items():
        if not torch.isfinite(tensor).all():
            raise CaptureError(EXIT_BAD_DATA, f"{name} holds NaN or infinity")


def sample_trajectory(
    model: torch.nn.Module, scheduler: Any, inputs: Tensors, options: argparse.Namespace
) -> tuple[Tensors, Any]:
    """The latent after each step of diffusers' SanaPipeline."""
    latents, _, scheduler = sample_latents(
        diffusers.SanaPipeline, model, scheduler, inputs, options, negative_prompt=None, **inputs
    )
    require_finite(latents)
    return latents, scheduler


def sample_sprint(
    model: torch.nn.Module, scheduler: Any, inputs: Tensors, options: argparse.Namespace
) -> tuple[Tensors, Any]:
    """The latent after each step of diffusers' SanaSprintPipeline, and what it would give to the decoder."""
    from diffusers.schedulers import scheduling_scm

    # The last step's noise is multiplied with sin 0.
    draws = iter([*(t for name, t in inputs.items() if name.startswith(NOISE_PREFIX)), inputs["latents"]])
    original = scheduling_scm.randn_tensor
    scheduling_scm.randn_tensor = lambda *_arguments, **_options: next(draws)
    try:
        latents, final, scheduler = sample_latents(
            diffusers.SanaSprintPipeline, model, scheduler, inputs, options, max_timesteps=MAX_TIMESTEPS,
            intermediate_timesteps=INTERMEDIATE_TIMESTEPS if options.steps == 2 else None,
            **{name: inputs[name] for name in TRAJECTORY_INPUTS},
        )
    finally:
        scheduling_scm.randn_tensor = original
    latents["outputs.latents"] = final
    require_finite(latents)
    return latents, scheduler


def finite_json(value: Any) -> Any:
    """`value` with null for the infinities that diffusers writes and JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite_json(item) for key, item in value.items()}
    return value


# MARK: The golden


def compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def entry_hashes(tensors: Tensors) -> dict[str, str]:
    """SHA-256 of each entry's values as stored: a reader tells a damaged golden by it."""
    return {name: hashlib.sha256(little_endian(tensor)).hexdigest() for name, tensor in tensors.items()}


# Types of entries: the name in a safetensors file, and in NumPy.
STORED_TYPES = {torch.float32: ("F32", "<f4"), torch.int64: ("I64", "<i8"), torch.uint8: ("U8", "|u1")}


def little_endian(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().astype(STORED_TYPES[tensor.dtype][1], copy=False).tobytes()


def golden_chunks(tensors: Tensors, metadata: dict[str, str]) -> Iterator[bytes]:
    """The safetensors file, tensors in the given order: the same bytes for the same content."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.element_size() * tensor.numel()
        header[name] = {"dtype": STORED_TYPES[tensor.dtype][0], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for tensor in tensors.values():
        yield little_endian(tensor)


def taken(path: Path) -> CaptureError:
    return CaptureError(EXIT_CANNOT_CREATE, f"{path} already exists: replace it with --force")


def take_free_name(file: Path, path: Path) -> None:
    """Gives a file the name `path`, or raises FileExistsError where anything has it, whoever tries the same just then."""
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EMLINK):
            raise
        # Without hard links an empty file claims the name, and is replaced.
        path.open("xb").close()
        try:
            file.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def write_file(path: Path, chunks: Iterator[bytes], replace: bool) -> None:
    """Writes beside `path`, then gives the file its name, so that `path` is whole or untouched.

    Without `replace`, of several programs that write `path` at the same time one succeeds.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if not replace:
            take_free_name(temporary, path)
        elif path.is_symlink() or path.exists() and not path.is_file():
            raise CaptureError(EXIT_CANNOT_CREATE, f"{path} is not a regular file, and is not replaced")
        else:
            temporary.replace(path)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise CaptureError(EXIT_CANNOT_CREATE, f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_golden(options: argparse.Namespace, kind: str, version: str, contract: dict[str, Any], tensors: Tensors) -> None:
    """Completes the contract with the hash of every entry and writes the file."""
    contract["sha256"] = entry_hashes(tensors)
    metadata = {"format": kind, "version": version, "contract": compact_json(contract)}
    write_file(options.output, golden_chunks(tensors, metadata), options.force)


def check_request(options: argparse.Namespace) -> None:
    """Checks that there is something to read and a place to write, before anything is computed."""
    folder, output = options.model, options.output
    if not folder.is_dir():
        raise CaptureError(EXIT_NO_INPUT, f"{folder} is not a directory")
    if os.path.lexists(output) and not options.force:
        raise taken(output)
    if not output.absolute().parent.is_dir():
        raise CaptureError(EXIT_CANNOT_CREATE, f"{output.absolute().parent} is not a directory")
    if options.threads:
        torch.set_num_threads(options.threads)


def capture(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the model, writes the golden and returns the report for stdout."""
    check_request(options)
    folder, output = options.model, options.output
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CaptureError(EXIT_BAD_DATA, f"{folder / 'config.json'} is not an object")
    plan = json.loads(options.plan)
    variant = choose_variant(folder, options.variant)
    weights = describe_weights(weight_files(folder, variant))
    if not options.quiet:
        note(f"weights {weights['digest'][:12]} ({weights['dtype']}), loading")
    model = load_model(folder, plan, variant, COMPUTE_DTYPES[options.compute_dtype])
    producer = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    contract = {
        "model_class": plan["class"],
        "config": config,
        "weights": weights,
        "compute_dtype": options.compute_dtype,
        # In float16, diffusers clips what linear attention puts out.
        "numerics": "fp16-clip" if options.compute_dtype == "float16" else "fp32",
        "producer": producer,
    }
    if not options.quiet:
        note("running")
    if options.trajectory:
        tensors, kind = record_trajectory(model, plan, contract, options), "sana-trajectory"
    else:
        tensors, kind = record_forward(model, plan, contract, options), "sana-reference"
    write_golden(options, kind, plan["version"], contract, tensors)
    recorded = len([name for name in tensors if name.startswith(("activations.", "latents."))])
    return {"output": str(output), "activations": recorded, "producer": contract["producer"], "blind": contract.get("blind", [])}


def record_forward(
    model: torch.nn.Module, plan: Plan, contract: dict[str, Any], options: argparse.Namespace
) -> Tensors:
    """The tensors of a golden of one forward; completes the contract."""
    inputs = checked_inputs(plan, stored_inputs(options.inputs) if options.inputs else synthetic_inputs(plan, options))
    if plan["entry"]:
        contract["entry"] = plan["entry"]
    if not hasattr(diffusers, plan["class"]):
        contract["producer"] = {"torch": torch.__version__, "transformers": import_transformers().__version__}
        contract["attn_implementation"] = "eager"
        contract["soft_cap"] = getattr(model.config, "attn_logit_softcapping", None) is not None
    activations, outputs = run(model, inputs, options.detail, plan)
    if blind := blind_weights(model, inputs, plan):
        contract["blind"] = blind
        names = ", ".join(blind[:3]) + (f" and {len(blind) - 3} more" if len(blind) > 3 else "")
        note(f"warning: this golden cannot show faults in {names}: they change nothing with these inputs")
    contract["activations"] = [{"name": name, "shape": list(tensor.shape)} for name, tensor in activations.items()]
    return {f"inputs.{name}": tensor for name, tensor in inputs.items()} | activations | outputs


def record_trajectory(
    model: torch.nn.Module, plan: Plan, contract: dict[str, Any], options: argparse.Namespace
) -> Tensors:
    """The tensors of a golden of one trajectory; completes the contract."""
    if plan["class"] != TRAJECTORY_CLASS:
        raise CaptureError(EXIT_USAGE, f"--trajectory: a {plan['class']} does not sample by itself")
    is_sprint = model.config.guidance_embeds
    options.steps = options.steps or (DEFAULT_SPRINT_STEPS if is_sprint else DEFAULT_STEPS)
    inputs = (sprint_inputs if is_sprint else trajectory_inputs)(plan, options)
    scheduler = make_scheduler(scheduler_config(options, is_sprint), is_sprint)
    latents, scheduler = (sample_sprint if is_sprint else sample_trajectory)(model, scheduler, inputs, options)
    # Names with an underscore are diffusers' own notes, some of them in no fixed order.
    settings = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    contract |= {
        "scheduler": finite_json(settings | {"_class_name": type(scheduler).__name__}),
        "guidance_scale": options.guidance_scale,
        "steps": options.steps,
    }
    schedule = {"schedule.timesteps": scheduler.timesteps.float()}
    if is_sprint:
        contract["max_timesteps"] = MAX_TIMESTEPS
        contract["intermediate_timesteps"] = INTERMEDIATE_TIMESTEPS if options.steps == 2 else None
    else:
        schedule["schedule.sigmas"] = scheduler.sigmas.float()
    return {f"inputs.{name}": tensor for name, tensor in inputs.items()} | schedule | latents


# MARK: The command line


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def note(message: str) -> None:
    print(f"capture: {message}", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"capture: {message}\n")


def positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def latent_size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 32x32")
    return positive(height), positive(width)


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="golden to write (.safetensors)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads for torch")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")


def exit_code(record: Callable[[argparse.Namespace], dict[str, Any]], options: argparse.Namespace) -> int:
    """Records, prints what was recorded and tells how it went."""
    try:
        print(json.dumps(record(options)))
    except CaptureError as error:
        note(str(error))
        return error.code
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = Parser(prog="capture", description="Record golden activations of a network of a Sana pipeline.")
    parser.add_argument("model", type=Path, metavar="MODEL_DIR", help="component folder: config.json and its weights")
    add_common_arguments(parser)
    parser.add_argument("--variant", help="weights variant, such as fp16 (default: the unnamed or only one)")
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="safetensors file with tensors named inputs.*")
    parser.add_argument("--detail", choices=("default", "full"), default="default", help="full: every leaf module too")
    parser.add_argument("--plan", required=True, metavar="JSON", help="the network's class, inputs, outputs and modules")
    parser.add_argument(
        "--compute-dtype", choices=tuple(COMPUTE_DTYPES), default="float32", help="precision of weights and forward"
    )
    parser.add_argument("--trajectory", action="store_true", help="sample with diffusers' pipeline and keep every latent")
    sampling = parser.add_argument_group("trajectories")
    sampling.add_argument("--steps", type=positive, metavar="N", help=f"steps (default {DEFAULT_STEPS}; Sprint {DEFAULT_SPRINT_STEPS})")
    sampling.add_argument(
        "--guidance-scale", type=float, metavar="G",
        help=f"classifier-free, or embedded guidance of Sprint (default {DEFAULT_GUIDANCE_SCALE})",
    )
    sampling.add_argument(
        "--scheduler", type=Path, metavar="PATH", help="scheduler_config.json or its folder (default: the repository's)"
    )
    made = parser.add_argument_group("synthetic inputs (instead of --inputs)")
    made.add_argument("--seed", type=int, metavar="N", help="seed of the random inputs (default 0)")
    made.add_argument("--latent", type=latent_size, metavar="HxW", help="latent size (default: the sample size)")
    made.add_argument("--batch", type=positive, metavar="B", help="samples (default 1)")
    made.add_argument("--tokens", type=positive, metavar="L", help="caption tokens (default 300)")
    made.add_argument("--timestep", type=numbers, metavar="T[,T...]", help="as the model gets it, one for all or one each")
    made.add_argument("--guidance", type=numbers, metavar="G[,G...]", help="embedded guidance, one for all or one each")
    made.add_argument("--conditioning-scale", type=numbers, metavar="S", help="of a ControlNet's outputs (default 1)")
    options = parser.parse_args()
    synthetic = ("seed", "latent", "batch", "tokens", *INPUT_OPTIONS)
    if options.inputs and (given := [name for name in synthetic if getattr(options, name) is not None]):
        parser.error(f"--{given[0].replace('_', '-')} has no effect with --inputs")
    sampling_only = ("steps", "guidance_scale", "scheduler")
    if not options.trajectory and (given := [name for name in sampling_only if getattr(options, name) is not None]):
        parser.error(f"--{given[0].replace('_', '-')} needs --trajectory")
    if options.guidance_scale is None:
        options.guidance_scale = DEFAULT_GUIDANCE_SCALE
    return options


if __name__ == "__main__":
    sys.exit(exit_code(capture, parse_arguments()))
