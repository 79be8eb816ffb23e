"""Read OpenVINO's IR as plain values: untrusted XML and weights in, checked layers out.

The XML may have no document type, so no entities; constants must lie inside of the weights, whose
file is the one beside it. Nothing else is opened, and memory is bounded by the two files' sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.file import read_bytes
from hwsim.frontends.openvino.model import IrLayer, IrModel, IrPort, Source
from hwsim.frontends.shared.builder import MAX_ELEMENTS

Element = ElementTree.Element

MAX_XML_BYTES = 1 << 27
DEEPEST = 16  # of elements in elements; an IR has about six
VERSIONS = ("10", "11")
TYPES: dict[str, Any] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32,
    "i16": np.int16, "i8": np.int8, "u64": np.uint64, "u32": np.uint32, "u16": np.uint16,
    "u8": np.uint8, "boolean": np.bool_,
}  # fmt: skip
"""Element types of constants, one element in whole bytes."""
HALVES = {"u4": False, "i4": True}
"""Types of which two elements lie in a byte, the lower half first, and whether they have a sign."""
PRECISIONS = {"FP32": "f32", "FP16": "f16", "FP64": "f64", "BOOL": "boolean", "BF16": "bf16"}


def read_ir(path: Path) -> IrModel:
    """The model in `path` and the `.bin` beside it."""
    text = read_bytes(path, "an OpenVINO model")
    weights = path.with_suffix(".bin")
    if weights.is_symlink() and weights.resolve().parent != path.resolve().parent:
        raise HwsimError(f"{weights} must lie in the folder of {path.name}, not lead out of it")
    data = read_bytes(weights, "the weights of the OpenVINO model") if weights.exists() else None
    return parse(path, text, data)


def parse(path: Path, text: bytes, weights: bytes | None) -> IrModel:
    """The model in the bytes of an IR; `weights` is None where there is no `.bin`."""
    root = _root(path, text)
    version = root.get("version", "")
    if root.tag != "net" or version not in VERSIONS:
        raise HwsimError(
            f"{path} must be an OpenVINO IR of version {' or '.join(VERSIONS)}, not <{root.tag}> "
            f"of version {version[:20]!r}"
        )
    try:
        layers = _layers(path, root, weights)
        return IrModel(path, tuple(_ordered(path, layers)))
    except HwsimError as error:
        place = "" if str(error).startswith(str(path)) else f"{path}: "
        raise HwsimError(f"{place}{error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise HwsimError(f"{path} must be a valid OpenVINO IR ({error})") from None


def _root(path: Path, text: bytes) -> Element:
    """The parsed XML, without entities and no deeper than it needs to be."""
    if len(text) > MAX_XML_BYTES:
        raise HwsimError(f"{path} must have at most {MAX_XML_BYTES} bytes, not {len(text)}")
    build = ElementTree.TreeBuilder()
    parser, depth = expat.ParserCreate(), 0

    def refuse(*_: object) -> None:
        raise HwsimError(f"{path} must have no document type, so no entities")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise HwsimError(f"{path} must have at most {DEEPEST} elements inside of each other")
        build.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        build.end(tag)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = build.data
    try:
        parser.Parse(text, True)
        return build.close()
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        raise HwsimError(f"{path} must be whole XML ({error})") from None


def _layers(path: Path, root: Element, weights: bytes | None) -> dict[str, IrLayer]:
    edges, places = _edges(path, root), _places(root)
    found: dict[str, IrLayer] = {}
    for element in root.iterfind("layers/layer"):
        layer = _layer(path, element, edges, places, weights)
        if layer.id in found:
            raise HwsimError(f"{path}: layer {layer.id[:40]!r} must be there only once")
        found[layer.id] = layer
    if not found:
        raise HwsimError(f"{path} must have layers")
    for layer in found.values():
        if any(source not in found for source, _ in layer.inputs):
            raise HwsimError(f"{layer}: its inputs must come from layers of the model")
    return found


def _places(root: Element) -> dict[tuple[str, str], int]:
    """From a layer's id and an output's port to its place among the outputs."""
    return {
        (layer.get("id", ""), port.get("id", "")): place
        for layer in root.iterfind("layers/layer")
        for place, port in enumerate(layer.iterfind("output/port"))
    }


def _edges(path: Path, root: Element) -> dict[tuple[str, str], tuple[str, str]]:
    """From a layer's id and port to what feeds it."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for edge in root.iterfind("edges/edge"):
        names = ("to-layer", "to-port", "from-layer", "from-port")
        parts = [edge.get(name) for name in names]
        if any(part is None for part in parts):
            raise HwsimError(f"{path}: an edge must have {', '.join(names)}")
        layer, port, source, out = (str(part) for part in parts)
        if (layer, port) in found:
            raise HwsimError(f"{path}: port {port[:9]} of layer {layer[:40]!r} must be fed once")
        found[layer, port] = (source, out)
    return found


def _layer(
    path: Path,
    element: Element,
    edges: dict[tuple[str, str], tuple[str, str]],
    places: dict[tuple[str, str], int],
    weights: bytes | None,
) -> IrLayer:
    identity, kind = element.get("id"), element.get("type")
    if identity is None or kind is None:
        raise HwsimError(f"{path}: each layer must have an id and a type")
    data = element.find("data")
    fed = [str(port.get("id")) for port in element.iterfind("input/port")]
    sources: list[Source] = []
    for port in fed:
        if (identity, port) not in edges:
            named = f"{kind[:40]} {(element.get('name') or identity)[:80]!r}"
            raise HwsimError(f"{path}: {named}: its input at port {port[:9]} must be fed")
        source = edges[identity, port]
        if source not in places:
            raise HwsimError(f"{path}: layer {identity[:40]!r} must read an output of a layer")
        sources.append((source[0], places[source]))
    layer = IrLayer(
        identity,
        element.get("name") or identity,
        kind,
        {} if data is None else dict(data.attrib),
        tuple(sources),
        tuple(_ports(element)),
    )
    if kind != "Const":
        return layer
    array = _constant(layer, weights)
    return IrLayer(layer.id, layer.name, kind, layer.data, (), layer.outputs, array)


def _ports(element: Element) -> Iterator[IrPort]:
    for port in element.iterfind("output/port"):
        sizes = [int(dim.text or "") for dim in port.iterfind("dim")]
        precision = port.get("precision", "")
        names = tuple(name for name in port.get("names", "").split(",") if name)
        shape = tuple(None if size < 0 else size for size in sizes)
        yield IrPort(PRECISIONS.get(precision, precision.lower()), shape, names)


def _constant(layer: IrLayer, weights: bytes | None) -> npt.NDArray[Any]:
    """The elements of a Const, as its type; those of half a byte as int8 or uint8."""
    element, shape = layer.text("element_type"), layer.integers("shape", "")
    offset, size = layer.integer("offset"), layer.integer("size")
    if any(length < 0 for length in shape):
        raise HwsimError(f"{layer}: its shape must be known, not {shape}")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise HwsimError(f"{layer}: it must have at most {MAX_ELEMENTS} elements, not {count}")
    if element in HALVES:
        wanted = (count + 1) // 2
    elif element in TYPES:
        wanted = count * np.dtype(TYPES[element]).itemsize
    else:
        raise HwsimError(f"{layer}: its elements must be numbers of a known type, not {element!r}")
    if size != wanted:
        raise HwsimError(f"{layer}: {shape} of {element} must have {wanted} bytes, not {size}")
    if weights is None:
        raise HwsimError(
            f"{layer}: its weights must be in the .bin beside the .xml, which is missing"
        )
    if offset < 0 or offset + size > len(weights):
        raise HwsimError(
            f"{layer}: bytes {offset} to {offset + size} must lie in the .bin, which has "
            f"{len(weights)}"
        )
    held = weights[offset : offset + size]
    if element in HALVES:
        return _halves(held, count, signed=HALVES[element]).reshape(shape)
    return np.frombuffer(held, TYPES[element], count).reshape(shape)


def _halves(held: bytes, count: int, *, signed: bool) -> npt.NDArray[Any]:
    both = np.frombuffer(held, np.uint8)
    codes = np.stack([both & 15, both >> 4], axis=-1).ravel()[:count].astype(np.int8)
    return (
        np.where(codes > 7, codes - 16, codes).astype(np.int8) if signed else codes.view(np.uint8)
    )


def _ordered(path: Path, layers: dict[str, IrLayer]) -> Iterable[IrLayer]:
    """Layers behind all that they read; HwsimError where they go round in a circle."""
    done: set[str] = set()
    for first in layers:
        stack = [first]
        open_layers: set[str] = set()
        while stack:
            identity = stack[-1]
            missing = [source for source, _ in layers[identity].inputs if source not in done]
            if identity in done:
                stack.pop()
            elif not missing:
                done.add(identity)
                stack.pop()
                yield layers[identity]
            elif identity in open_layers:
                raise HwsimError(f"{path}: its layers must not read each other in a circle")
            else:
                open_layers.add(identity)
                stack += missing
