"""Looks at targets as if they had just been asked, for tests that have no other machine."""

from __future__ import annotations

import time

from workbench.core.gpu import find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.target import Target
from workbench.toolchains.looks import PythonThere, TargetLook, digest_of_target

TRT = {"python": "3.12.3", "tensorrt-llm": "1.2.1", "torch": "2.9.1", "transformers": "4.57.1", "pydantic": "2.12.0"}
TRT |= {"psutil": "7.0.0", "tensorrt": "10.14.1", "safetensors": "0.6.2", "nvidia-modelopt": "0.37.0"}
OPENVINO = {name: "1.0" for name in ("openvino", "openvino-genai", "openvino-tokenizers", "optimum-intel", "optimum")}
OPENVINO |= {
    "python": "3.11.2",
    "nncf": "3.0",
    "transformers": "5.5.4",
    "torch": "2.13",
    "pydantic": "2.12",
    "psutil": "7",
}


def keep_look(home: Home, target: Target, *, gpus: int = 0, free: int | None = None, **fields: object) -> TargetLook:
    """A look as if the target had just been asked: an EPYC with GPUs and all toolchains."""
    host = read_host().model_copy(update={"cpu_name": "Other CPU", "logical_cores": 96, "memory_total_bytes": 1 << 40})
    h100 = find_gpu("H100 SXM")
    look = TargetLook(
        at=time.time(),
        of=digest_of_target(target),
        python="3.12.3",
        host=host,
        gpus=tuple(h100.model_copy(update={"index": index}) for index in range(gpus)),
        rsync="3.2.7",
        folder_free_bytes=free,
        driver="570.1",
        pythons={
            "tensorrt_llm": PythonThere(executable="/opt/trt/bin/python", versions=TRT),
            "modelopt": PythonThere(executable="/opt/trt/bin/python", versions=TRT),
            "openvino": PythonThere(executable="/opt/ov/bin/python", versions=OPENVINO),
            "pytorch": PythonThere(
                executable="/usr/bin/python3",
                versions={"python": "3.9.2"},
                problem="is Python 3.9.2; workers need 3.10 or newer",
            ),
        },
    ).model_copy(update=fields)
    path = home.cache / "targets" / f"{target.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(look.model_dump_json())
    return look
