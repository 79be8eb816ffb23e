"""GarNet and GarNetStack in hls4ml's layer lists, without Keras."""

from __future__ import annotations

from typing import Any

from support.hls4ml_models import Model


def garnet(
    model: Model,
    source: str,
    counted: str,
    outputs: tuple[int, ...],
    result: str,
    groups: int,
    types: dict[str, str] | None = None,
    **fields: Any,
) -> str:
    """One layer, or several as a stack, each with three aggregators and two latent features.

    `types` are those within: edge_weight, edge_weight_aggr, aggr.
    """
    vertices, features = model.shapes[source]
    stacked = len(outputs) > 1
    widths = [features, *outputs[:-1]]
    told: dict[str, Any] = {}
    for at, (terms, out) in enumerate(zip(widths, outputs, strict=True)):
        part = str(at) if stacked else ""
        told |= {
            f"FLR{part}_kernel_data": model.weights(terms, 2),
            f"FLR{part}_bias_data": model.weights(2),
            f"S{part}_kernel_data": model.weights(terms, 3),
            f"S{part}_bias_data": model.weights(3),
            f"Fout{part}_kernel_data": model.weights(6, out),
            f"Fout{part}_bias_data": model.weights(out),
        }
    many = {"n_sublayers": len(outputs)} if stacked else {}
    return model.add(
        "GarNetStack" if stacked else "GarNet",
        [source, counted],
        (outputs[-1],),
        {"result": result, **(types or {})},
        {"ReuseFactor": groups},
        n_vertices=vertices,
        n_in_features=widths if stacked else features,
        n_propagate=[2] * len(outputs) if stacked else 2,
        n_aggregators=[3] * len(outputs) if stacked else 3,
        n_out_features=list(outputs) if stacked else outputs[0],
        **{
            "collapse": "mean",
            "mean_by_nvert": False,
            "input_format": "xn",
            **told,
            **many,
            **fields,
        },
    )
