"""Which weights go, by which score and how many, against plain Python; and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.cli_calls import refused, run, tiny

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune import scores
from hwsim.compress.prune.float_weights import prune_float
from hwsim.compress.prune.masks import (
    masked,
    masks_of,
    parse_pattern,
    weighted_layers,
)
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.compress.prune.schedules import amounts
from hwsim.compress.prune.shrink import ChannelMap
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.quantize.places import places
from hwsim.compress.training.loop import Training, finetune
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Conv2D, TensorType, Window
from hwsim.ops.encodings import Codebook

MODEL = Path(__file__).resolve().parents[2] / "examples" / "models" / "digits_cnn_int8.onnx"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target
torch_needed = pytest.mark.needs("torch", "array_api_compat")


@pytest.fixture(scope="module")
def digits() -> Graph:
    return hwsim.load(MODEL)


def random_scores(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Three layers' scores, with many equal ones."""
    shapes = {"a": (3, 3, 4, 8), "b": (24, 8), "c": (2, 2, 8, 4)}
    return {name: rng.integers(0, 6, shape) / 4 for name, shape in shapes.items()}


def least(pairs: list[tuple[float, int]], count: int) -> set[int]:
    """Places of the `count` least scores; of equals those that come first."""
    return {place for _, place in sorted(pairs)[:count]}


def half_up(amount: str, total: int) -> int:
    return int(Fraction(amount) * total + Fraction(1, 2))


@pytest.mark.parametrize("amount", ["0", "0.25", "0.5", "0.75", "0.99"])
def test_exactly_an_amount_of_each_layer_or_of_all_goes_the_earliest_of_equals_first(amount, rng):
    found = random_scores(rng)
    plain = parse_pattern("unstructured")
    by_layer = masks_of(found, plain, amount=float(amount))
    for name, score in found.items():
        flat = score.reshape(-1).tolist()
        gone = least([(s, k) for k, s in enumerate(flat)], half_up(amount, len(flat)))
        assert [k for k, m in enumerate(by_layer[name].reshape(-1)) if not m] == sorted(gone)
    together = masks_of(found, plain, amount=float(amount), scope="global")
    flat = [s for score in found.values() for s in score.reshape(-1).tolist()]
    gone = least([(s, k) for k, s in enumerate(flat)], half_up(amount, len(flat)))
    masks = np.concatenate([together[name].reshape(-1) for name in found])
    assert [k for k, m in enumerate(masks) if not m] == sorted(gone)


@pytest.mark.parametrize(("kept", "size"), [(2, 4), (1, 4), (1, 2), (7, 8)])
def test_n_of_each_m_input_channels_stay(kept, size, rng):
    found = {n: s for n, s in random_scores(rng).items() if s.shape[-2] % size == 0}
    masks = masks_of(found, parse_pattern(f"{kept}:{size}"))
    for name, score in found.items():
        for at in np.ndindex(*score.shape[:-2], score.shape[-2] // size, score.shape[-1]):
            *kernel, group, output = at
            places = range(group * size, (group + 1) * size)
            row = [(float(score[(*kernel, i, output)]), i) for i in places]
            gone = least(row, size - kept)
            assert {i for i in places if not masks[name][(*kernel, i, output)]} == gone


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_whole_blocks_of_pe_outputs_and_simd_terms_go(scope, rng):
    found, (pe, simd) = random_scores(rng), (4, 2)
    masks = masks_of(found, parse_pattern(f"{pe}x{simd}"), amount=0.5, scope=scope)
    cells = []
    for name, score in found.items():
        matrix, mask = (a.reshape(-1, score.shape[-1]) for a in (score, masks[name]))
        for term in range(0, len(matrix), simd):
            for output in range(0, matrix.shape[1], pe):
                part = mask[term : term + simd, output : output + pe]
                assert part.all() or not part.any()
                block = matrix[term : term + simd, output : output + pe].reshape(-1).tolist()
                total = sum(map(Fraction, block))
                cells.append((name if scope == "layer" else "", total, bool(part.all())))
    for group in {cell[0] for cell in cells}:
        mine = [cell for cell in cells if cell[0] == group]
        gone = least([(float(s), k) for k, (_, s, _) in enumerate(mine)], (len(mine) + 1) // 2)
        assert {k for k, cell in enumerate(mine) if not cell[2]} == gone


def test_magnitudes_are_reals_so_that_layers_of_unlike_scales_compare(digits):
    layers = weighted_layers(digits)
    found = scores.magnitudes(layers)
    for name, op in layers.items():
        steps = op.weight_scale or (2.0**-op.weight_format.frac_bits,)
        step = steps if len(steps) > 1 else steps * op.outputs
        for at in np.ndindex(op.weights.shape):
            assert found[name][at] == abs(int(op.weights[at])) * step[at[-1]]


def test_a_masked_graph_has_zeros_where_masks_are_false_and_all_else_as_it_was(digits):
    layers = weighted_layers(digits)
    masks = masks_of(scores.magnitudes(layers), parse_pattern("unstructured"), amount=0.6)
    found = weighted_layers(masked(digits, masks))
    for name, op in layers.items():
        assert np.array_equal(found[name].weights, np.where(masks[name], op.weights, 0))
        assert np.array_equal(found[name].bias, op.bias)


def test_weights_of_a_table_without_0_cannot_be_pruned_and_are_told_by_name():
    op = weighted_layers(tiny())["dense"]
    table = replace(op, weights=np.where(op.weights < 0, -3, 5), encoding=Codebook(entries=(-3, 5)))
    graph = tiny().with_op("dense", table)
    with pytest.raises(HwsimError, match="node 'dense' must have 0 among its weights to be pruned"):
        prune(graph, Pruning(amount=0.5))


def test_activity_is_that_of_a_trace_however_the_data_is_cut(digits):
    edges = hwsim.trace(digits, IMAGES[:50])
    whole = scores.activity(digits, [IMAGES[:50]])
    parts = scores.activity(digits, scores.in_batches(IMAGES[:50], 7))
    for edge, one in whole.items():
        kind = digits.types()[edge]
        rows = edges[edge].reshape(-1, kind.channels) - kind.zero_point
        assert np.array_equal(one.not_zero, (rows != 0).sum(axis=0))
        assert np.allclose(one.level("activation"), np.abs(rows * kind.scales()).mean(axis=0))
        assert np.array_equal(parts[edge].not_zero, one.not_zero)
        assert np.allclose(parts[edge].square, one.square)


def test_weights_that_meet_a_silent_channel_score_nothing_by_activity(rng):
    weights = rng.integers(1, 7, (2, 2, 1, 6))
    op = Conv2D(
        weights=weights, bias=np.zeros(6, int), weight_format=Format.int(4),
        window=Window((2, 2)), groups=3,
    )  # fmt: skip
    port = InputPort(name="x", tensor="x", type=TensorType((4, 4, 3), Format.int(8)))
    graph = Graph((port,), (Node("c", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    x = rng.integers(1, 9, (5, 4, 4, 3)).astype(np.float32)
    x[..., 1] = 0
    seen = scores.activity(graph, [x])
    for by in ("activation", "zeros"):
        score = scores.by_activity(graph, {"c": op}, seen, by)["c"]
        assert not score[..., 2:4].any() and score[..., [0, 1, 4, 5]].all()


@torch_needed
def test_taylor_scores_are_gradients_times_weights(digits):
    name = next(iter(weighted_layers(digits)))
    count = scores.BATCH
    found = scores.by_gradients(digits, IMAGES[:count], LABELS[:count], "taylor")
    from hwsim.compress.training import TrainableGraph

    torch = pytest.importorskip("torch")
    network = TrainableGraph(digits)
    logits = network(network.encode(IMAGES[:count])).reshape(count, -1)
    torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS[:count])).backward()
    w = network.learned[name].weights
    assert np.allclose(found[name], np.abs((w.grad * w).detach().numpy()), rtol=1e-3, atol=1e-9)
    moving = scores.by_gradients(digits, IMAGES[:256], LABELS[:256], "movement")
    assert (moving[name] < 0).any() and (moving[name] > 0).any()


@torch_needed
@pytest.mark.parametrize("by", scores.BY)
@pytest.mark.parametrize("pattern", ["unstructured", "channels"])
def test_every_score_prunes_the_digits_to_what_it_says(by, pattern, digits):
    how = Pruning(amount=0.25, by=by, pattern=parse_pattern(pattern))
    found = prune(digits, how, IMAGES[:256], LABELS[:256]).graph
    for name, op in weighted_layers(digits).items():
        now = weighted_layers(found)[name]
        if pattern == "unstructured":
            zeros = int((now.weights == 0).sum())
            assert zeros >= half_up("0.25", op.weights.size)
        else:
            ends = name in ChannelMap.of(digits).stays
            assert now.outputs == op.outputs - (0 if ends else half_up("0.25", op.outputs))


@torch_needed
def test_a_gradual_schedule_with_fine_tuning_keeps_digits_right_at_three_quarters(digits):
    held, graph, masks = slice(1400, None), digits, {}
    for amount in amounts("gradual", 0.75, steps=4):
        found = prune(graph, Pruning(amount=amount))
        masks = found.masks
        how = Training(epochs=3, rate=3e-3, seed=1)
        graph = finetune(found.graph, IMAGES[:1400], LABELS[:1400], how, masks=masks)
    at_once = prune(digits, Pruning(amount=0.75)).graph
    for name, op in weighted_layers(graph).items():
        assert not op.weights[~masks[name]].any()
        assert (op.weights == 0).mean() >= 0.75 - 1 / op.weights.size
    before, after = (hwsim.accuracy(g, IMAGES[held], LABELS[held]).top1 for g in (at_once, graph))
    assert after > before and after > 0.9


def test_schedules_end_at_the_amount_and_follow_their_formulas():
    assert list(amounts("one-shot", 0.75, steps=4)) == [0.75]
    assert list(amounts("gradual", 0.75, steps=4)) == [
        0.75 * (1 - (1 - k / 4) ** 3) for k in (1, 2, 3)
    ] + [0.75]
    even = [0.0, *amounts("iterative", 0.875, steps=3)]
    shares = [(1 - b) / (1 - a) for a, b in pairwise(even)]
    assert shares == pytest.approx([0.5] * 3) and even[-1] == 0.875
    rest = [0.3, *amounts("gradual", 0.9, steps=5, first=0.3)]
    assert rest == sorted(rest) and rest[-1] == 0.9


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: list(amounts("slow", 0.5)), "a schedule must be one of one-shot, iterative"),
        (lambda: list(amounts("gradual", 0.5, steps=0)), "steps must be 1 or more, not 0"),
        (lambda: amounts("gradual", 0.5, first=0.6), "first amount must be at most 0.5, not 0.6"),
        (lambda: Pruning(amount=1.0), "an amount must be from 0 to below 1, not 1"),
        (lambda: Pruning(amount=float("nan")), "an amount must be from 0 to below 1, not nan"),
        (lambda: Pruning(by="luck"), "scores must be one of magnitude, activation, zeros, taylor"),
        (lambda: Pruning(scope="all"), "a scope must be one of layer, global, not 'all'"),
        (lambda: parse_pattern("4:2"), "a pattern must be unstructured, channels, N:M with N bel"),
    ],
)
def test_what_cannot_be_meant_is_told(call, sentence):
    with pytest.raises(HwsimError, match=sentence):
        call()


def test_the_command_writes_the_graph_that_the_library_gives(tmp_path, capsys, digits):
    out = tmp_path / "m.hwsim"
    status, said, err = run(capsys, "prune", MODEL, "--amount", "0.75", "-o", out, "--json")
    assert status == 0, err
    facts = json.loads(said)
    want = hwsim.prune(MODEL, 0.75).graph
    assert want.hash() == prune(digits, Pruning(amount=0.75)).graph.hash()
    assert Graph.load(out).hash() == want.hash() == facts["hash"]
    zeros = sum(int((op.weights == 0).sum()) for op in weighted_layers(want).values())
    assert facts["totals"]["zeros"][1] == zeros
    np.savez(tmp_path / "d.npz", x=IMAGES[:64], y=LABELS[:64])
    more = ("--pattern", "channels", "--by", "activation", "--data", tmp_path / "d.npz")
    status, said, err = run(capsys, "prune", MODEL, *more, "-o", out)
    assert status == 0, err
    macs = [sum(w.macs for w in g.work().values()) for g in (digits, Graph.load(out))]
    assert f"{macs[0]:,} → {macs[1]:,}" in said and "has them" in " ".join(said.split())


def test_calls_of_the_command_that_cannot_be_are_one_sentence(tmp_path, capsys):
    tiny().save(tmp_path / "t.hwsim")
    out = tmp_path / "out.hwsim"

    def told(*more: object) -> str:
        return refused(capsys, "prune", tmp_path / "t.hwsim", "-o", out, *more)

    assert told("--amount", "1.5") == "an amount must be from 0 to below 1, not 1.5"
    assert told("--layer", "x") == "a layer to prune must be one of ['dense'], not 'x'"
    assert told("--pattern", "2:8") == (
        "a pattern must divide the weights of one of the layers, not 2:8: 'dense' has 4 input "
        "channels"
    )
    assert told("--pattern", "4x4") == (
        "a pattern must divide the weights of one of the layers, not 4x4: 'dense' has 2 outputs "
        "of 4 terms"
    )
    assert told("--by", "activation") == "scores by activation must come with data, not without"
    assert told("--labels", tmp_path / "y.npy").startswith("--labels must come with --data")
    np.save(tmp_path / "x.npy", np.ones((3, 4), np.float32))
    given = ("-i", tmp_path / "x.npy")
    assert told("--by", "taylor", *given) == (
        f"{tmp_path / 'x.npy'}: scores by taylor must come with labels, not without"
    )
    assert not out.exists()
    other = refused(capsys, "prune", tmp_path / "t.hwsim", "-o", tmp_path / "out.tflite")
    assert other == f"--out must be a .hwsim or .onnx file, not '{tmp_path / 'out.tflite'}'"


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip"])
def test_a_float_model_loses_its_least_weights_and_its_codes_have_zeros_there(name):
    model = FloatModel.read(MODEL.parent / f"{name}.float.onnx")
    found = prune_float(model, Pruning(amount=0.5))
    sparse = FloatModel(model.path, found.proto)
    proto = quantize(sparse, [{"image": IMAGES[:64]}], Widths.parse("w8a8"))
    layers = weighted_layers(hwsim.load(proto)).values()
    assert len(layers) == len(found.masks)
    for mask, op in zip(found.masks.values(), layers, strict=True):
        gone = int((~mask).sum())
        assert gone == half_up("0.5", mask.size) and mask.shape == op.weights.shape
        assert (op.weights == 0).sum() >= gone
        if mask.ndim > 2:  # a Graph flattens channels last, so that dense rows move
            assert not op.weights[~mask].any()
    for old, new in zip(model.constants.values(), sparse.constants.values(), strict=True):
        left = np.abs(new[new != 0]).min(initial=np.inf)
        assert np.array_equal(new, np.where(np.abs(old) < left, 0, old))


def test_the_command_prunes_a_float_model_into_an_onnx_file(tmp_path, capsys):
    model, out = MODEL.parent / "digits_cnn_int8.float.onnx", tmp_path / "s.onnx"
    status, said, err = run(capsys, "prune", model, "-o", out, "--pattern", "1:2", "--json")
    assert status == 0, err
    facts, found = json.loads(said), FloatModel.read(out)
    zeros = {name: one["zeros"][1] for name, one in facts["layers"].items()}
    held = {one.name: (found.constants[one.weights] == 0).sum() for one in places(found).layers}
    assert zeros == held and facts["totals"]["zeros"][1] == sum(held.values()) > 0
    said = refused(capsys, "prune", model, "-o", tmp_path / "t.onnx", "--pattern", "channels")
    assert said.endswith(
        "must be a quantized network for channels; a float one is pruned by the magnitude of its "
        "weights"
    )
    assert not (tmp_path / "t.onnx").exists()


@torch_needed
def test_labels_that_are_no_class_numbers_are_told():
    with pytest.raises(HwsimError, match="labels must be 8 class numbers, one a sample, not 5 of"):
        prune(
            hwsim.load(MODEL), Pruning(amount=0.5, by="taylor"), IMAGES[:8],
            np.zeros(5, np.float32),
        )  # fmt: skip
