"""Workers that make and judge ONNX model folders, for every toolchain that runs them."""
