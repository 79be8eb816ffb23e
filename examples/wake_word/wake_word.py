"""A published wake word on a spoken clip: its probability in time, and TensorFlow Lite Micro's."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hwsim
from hwsim.errors import HwsimError

Array = npt.NDArray[Any]
HERE = Path(__file__).parent
RATE = 16_000
FEATURES = 40  # of a frame
CHUNK = 160  # samples of 10 ms, which the front end takes at a time
NEEDED = "pymicro_features", "pymicro_wakeword", "tflite_micro", "matplotlib"


@dataclass(frozen=True, slots=True)
class Result:
    """What one model said of a clip; times in seconds."""

    model: str
    steps: int
    compared: int
    different: int
    highest: float
    heard_at: float | None
    load_seconds: float
    emulate_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", default=["okay_nabu"], help="of pymicro-wakeword, or .tflite files"
    )
    parser.add_argument("--wav", type=Path, default=HERE / "clip.wav", help="16 kHz, 16 bits, mono")
    parser.add_argument("--cutoff", type=float, default=0.85, help="a probability that is a word")
    parser.add_argument("--out", type=Path, default=Path("out/wake_word"))
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        print(f'{names} must be installed: pip install ".[examples]" -c constraints.txt')
        return 2
    try:
        samples = read_wav(arguments.wav)
        paths = [model_file(name) for name in arguments.models]
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = [run(path, features(samples), arguments.cutoff, arguments.out) for path in paths]
    except (HwsimError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    (arguments.out / "wake_word.json").write_text(
        json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8"
    )
    return int(any(one.different for one in found))


def model_file(name: str) -> Path:
    """A file, or a model of the package pymicro-wakeword by its name."""
    if Path(name).suffix == ".tflite":
        return Path(name)
    package = importlib.util.find_spec("pymicro_wakeword")
    assert package is not None and package.origin is not None
    folder = Path(package.origin).parent / "models"
    known = {path.stem: path for path in sorted(folder.glob("*.tflite"))}
    if name not in known:
        raise HwsimError(f"model must be a .tflite file or one of {', '.join(known)}, not {name!r}")
    return known[name]


def read_wav(path: Path) -> Array:
    """The samples of a WAV file, int16 (time,)."""
    try:
        with wave.open(str(path), "rb") as sound:
            shape = sound.getframerate(), sound.getsampwidth(), sound.getnchannels()
            data = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise HwsimError(f"{path} must be a WAV file ({error})") from None
    except OSError as error:
        raise HwsimError(f"{path} must be a WAV file that can be read ({error.strerror})") from None
    if shape != (RATE, 2, 1):
        rate, wide, channels = shape
        raise HwsimError(
            f"{path} must be of {RATE} Hz, 16 bits, one channel, "
            f"not of {rate} Hz, {8 * wide} bits, {channels}"
        )
    return np.frombuffer(data, "<i2")


def features(samples: Array) -> Array:
    """What the models hear: float32 (frames, 40), a frame each 10 ms, from 30 ms of sound."""
    from pymicro_features import MicroFrontend

    front = MicroFrontend()
    made = [
        front.process_samples(samples[start : start + CHUNK].tobytes()).features
        for start in range(0, len(samples) - CHUNK + 1, CHUNK)
    ]
    return np.array([frame for frame in made if frame], np.float32).reshape(-1, FEATURES)


def run(path: Path, frames: Array, cutoff: float, out: Path) -> Result:
    """One model over the clip, step by step with its state, here and in its own runtime."""
    start = time.perf_counter()
    graph = hwsim.load(path, like="tflm")
    loaded = time.perf_counter()
    port = graph.inputs[0]
    stride = port.type.shape[0]
    if math.prod(port.type.shape) != stride * FEATURES or not graph.state:
        raise HwsimError(
            f"{path} must hear frames of {FEATURES} features, a few a step, and remember the steps "
            f"before, not take {port.type.shape}" + ("" if graph.state else " and keep no state")
        )
    steps = len(frames) // stride
    if not steps:
        raise HwsimError(f"the clip must have {stride} frames of 10 ms or more, not {len(frames)}")
    quant, fmt = port.type.quant, port.type.format
    assert quant is not None
    codes = np.rint(frames / np.float32(quant.scale[0]) + quant.zero_point)
    codes = np.clip(codes, fmt.min, fmt.max).astype(np.int8)
    x = codes[: steps * stride].reshape(1, steps, *port.type.shape)
    begun = time.perf_counter()
    ours = np.asarray(hwsim.emulate(graph, x, codes=True)).reshape(steps)
    ended = time.perf_counter()
    theirs = in_micro(path, x[0])
    seconds = stride * CHUNK / RATE
    answer = graph.types()[graph.outputs[0].tensor].quant
    assert answer is not None
    chance = ours * answer.scale[0]
    above = np.flatnonzero(chance > cutoff)
    found = Result(
        model=path.stem,
        steps=steps,
        compared=steps,
        different=int(np.count_nonzero(ours != theirs)),
        highest=float(chance.max()),
        heard_at=float((above[0] + 1) * seconds) if above.size else None,
        load_seconds=loaded - start,
        emulate_seconds=ended - begun,
    )
    heard = "not heard" if found.heard_at is None else f"heard at {found.heard_at:.2f} s"
    print(
        f"{path.stem}: {found.different} of {steps} steps other than TensorFlow Lite Micro's; "
        f"highest {found.highest:.3f}, {heard}; "
        f"loaded in {found.load_seconds:.2f} s, {steps * seconds:.1f} s of sound in "
        f"{found.emulate_seconds:.2f} s"
    )
    axis = np.arange(1, steps + 1) * seconds
    plot(out / f"{path.stem}.png", axis, chance, theirs * answer.scale[0])
    return found


def in_micro(path: Path, x: Array) -> Array:
    """The codes of TensorFlow Lite Micro for steps (time, *shape)."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(path))
    made = []
    for step in x:
        interpreter.set_input(step[None], 0)
        interpreter.invoke()
        made.append(int(interpreter.get_output(0).ravel()[0]))
    return np.array(made)


def plot(path: Path, seconds: Array, ours: Array, theirs: Array) -> None:
    """Both probabilities over time, one under the other, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    named = {"hwsim": ours, "TensorFlow Lite Micro": theirs}
    rows = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, (name, values) in zip(rows, named.items(), strict=True):
        axes.step(seconds, values, where="post")
        axes.set(ylabel="probability", ylim=(-0.02, 1.02), title=f"{path.stem}, {name}")
    rows[-1].set(xlabel="seconds")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
