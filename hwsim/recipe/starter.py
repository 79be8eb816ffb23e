"""A recipe to begin with, with a word on each line."""

STARTER = """\
# A recipe for `hwsim compress`. Paths are relative to this file. Each [[step]] has the options of
# the command of its name (`hwsim quantize --help`, ...); run it again after a change, and only the
# steps that the change touches are done anew.

model = "float.onnx"       # a float ONNX file (torch.onnx.export), or a quantized model
out = "compressed"         # a folder: the network, report.html, report.json and each step's files
seed = 0
target = "ecp5-25k"        # whose plan the figures are of; `hwsim plan --help` names others
clock = "50MHz"

[data]                     # .npy, .npz or .csv files, folders of images, or sets such as
train = "train.npz"        # set:digits/train and set:fashion-mnist/train:FOLDER
test = "test.npz"          # accuracy is counted on these
# train_labels = "y.npy"   # where the samples have none; test_labels too
# calibration = "x.npy"    # samples that ranges come from; those to train with otherwise
# scale = "1/255"          # what is done to the samples: scale, mean, std, resize
# mean = 0.5
# std = 0.5

[[step]]
do = "quantize"
bits = "w4a4"              # weights and activations, 1 to 16 bits each
# layer = { "conv1" = "w8a8" }

[[step]]
do = "prune"               # before or after "quantize"; what is 0 stays 0
amount = 0.5
scope = "global"
# pattern = "channels"     # after "quantize": the network really shrinks

[[step]]
do = "distil"              # the teacher is the float model; or "finetune", by labels alone
epochs = 5
rate = 1e-3
learn_steps = true

# [[step]]
# do = "encode"            # powers of two, sums of them, tables
# weights = "pot4"

[[step]]
do = "attribute"           # where accuracy went, layer by layer

[[step]]
do = "build"               # Verilog; without rtl_only a bitstream
rtl_only = true

[[step]]
do = "verify"              # the Verilog against the emulator, integer by integer
samples = 8
"""
