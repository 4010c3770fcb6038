"""OpenVINO GenAI: the embedded toolchain that makes the whole program work on any x86-64 CPU."""
