"""PyTorch's exported programs and ExecuTorch, with the integers of the runtime that runs them."""
