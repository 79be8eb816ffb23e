"""What teaches a network: a float model's scores and tensors, or a larger graph's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.digits_trained import FEW, IMAGES, float_model, quantized
from support.seeds import seeded

import hwsim
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.loss import Lesson
from hwsim.compress.training.teachers import any_teacher
from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("torch", "array_api_compat")


def test_a_teachers_features_are_scored_and_refused_in_another_shape():
    graph, edge = quantized("w4a4"), "relu1.quantized.codes"
    rng = np.random.default_rng(seeded(7))
    scores = rng.random((FEW, 10)).astype(np.float32)
    tensors = rng.random((FEW, *graph.types()[edge].shape)).astype(np.float32)
    places = {x.tobytes(): k for k, x in enumerate(IMAGES[:FEW])}

    def teacher(features):
        def teach(batch):
            rows = [places[x.tobytes()] for x in batch]
            return Lesson(scores[rows], {name: a[rows] for name, a in features.items()})

        return teach

    how = Training(epochs=1, seed=4, batch=32, features=5.0)
    found = {
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher(features)).hash()
        for features in ({}, {edge: tensors}, {edge: tensors[::-1]})
    }
    assert len(found) == 3
    with pytest.raises(HwsimError, match=rf"tensor for edge '{edge}' must have shape"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher({edge: tensors[..., 1:]}))
    with pytest.raises(HwsimError, match="must be an edge of the model, not 'nowhere'"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher({"nowhere": tensors}))
    with pytest.raises(HwsimError, match="must tell 10 classes apart, as the model does, not 9"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=lambda b: np.zeros((len(b), 9)))


@pytest.mark.needs("onnxruntime")
def test_an_onnx_teachers_tensors_come_channels_last_and_its_scores_ahead_of_a_softmax(tmp_path):
    model, graph = float_model(), quantized("w4a4")
    wanted = next(model.run([{"image": IMAGES[:5]}], ["relu1", "logits"]))
    proto = onnx.load(str(model.path))
    proto.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    proto.graph.output[0].name = "shares"
    onnx.save(proto, str(tmp_path / "soft.onnx"))
    for path in (model.path, tmp_path / "soft.onnx"):
        teach = any_teacher(path, graph, None, {"relu1.quantized.codes": "relu1"})
        lesson = teach(IMAGES[:5])
        (features,) = lesson.features.values()
        assert np.allclose(lesson.scores, wanted["logits"], atol=1e-4)
        assert np.allclose(features, np.moveaxis(wanted["relu1"], 1, -1), atol=1e-5)
        assert not np.allclose(features, wanted["relu1"], atol=1e-2)


def test_a_graph_as_a_teacher_gives_the_emulators_scores_and_reals():
    larger, graph = quantized("w8a8"), quantized("w2a3")
    edge = "relu1.quantized.codes"
    lesson = any_teacher(larger, graph, None, {edge: edge})(IMAGES[:7])
    assert np.array_equal(lesson.scores, hwsim.emulate(larger, IMAGES[:7]))
    codes = hwsim.trace(larger, IMAGES[:7])[edge]
    assert np.array_equal(lesson.features[edge], codes * larger.types()[edge].scales()[0])


def test_a_qonnx_file_teaches_as_the_graph_that_is_read_from_it(tmp_path):
    graph, path = quantized("w2a3"), tmp_path / "larger.onnx"
    proto = quantize(float_model(), [{"image": IMAGES[:512]}], Widths.parse("w8a8"))
    assert any(node.op_type == "Quant" for node in proto.graph.node)
    onnx.save(proto, str(path))
    wanted = any_teacher(hwsim.load(path), graph, None, {})(IMAGES[:7]).scores
    for teacher in (path, str(path), proto):
        assert np.array_equal(any_teacher(teacher, graph, None, {})(IMAGES[:7]).scores, wanted)


@pytest.mark.needs("onnxruntime")
def test_a_teacher_of_several_outputs_has_one_of_the_models_name(tmp_path):
    graph, path = quantized("w2a3"), tmp_path / "two.onnx"
    proto = onnx.load(str(float_model().path))
    (maker,) = (node for node in proto.graph.node if "logits" in node.output)
    maker.output[0] = proto.graph.output[0].name = "other"
    proto.graph.output.append(onnx.helper.make_tensor_value_info("relu1", 1, None))
    onnx.save(proto, str(path))
    with pytest.raises(HwsimError, match="or one named 'logits', not other, relu1"):
        any_teacher(path, graph, None, {})
