"""Workers of the OpenVINO GenAI toolchain."""
