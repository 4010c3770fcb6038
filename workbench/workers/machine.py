"""What a machine is and has, as JSON on standard output: sent to other machines' interpreters as it stands.

Nothing but the standard library, and nothing that Python 3.6 lacks: the machine's own python3 may be old, and saying
so in words is part of the answer. `python3 - '{"folder": "/data"}' < machine.py` is all that it takes.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SCHEMA = 1
_SECONDS = 30
_GPU_FIELDS = "index,uuid,name,compute_cap,memory.total,memory.used,display_active,driver_version"
_VERSIONS = """
import json, sys
found = {"python": ".".join(map(str, sys.version_info[:3]))}
try:
    from importlib import metadata
except ImportError:
    metadata = None
for name in sys.argv[1:] if metadata else ():
    try:
        found[name] = metadata.version(name)
    except Exception:
        pass
print(json.dumps({"executable": sys.executable, "versions": found}))
"""


def run(argv, seconds=_SECONDS):
    """(exit code, standard output, what it said last); code None: it could not be run, or did not end in time."""
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
        )
    except OSError as error:
        return None, "", str(error)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, "", f"{argv[0]} did not answer within {seconds} s"
    said = (err or out).decode("utf-8", "replace").strip().splitlines()
    return process.returncode, out.decode("utf-8", "replace"), said[-1][:300] if said else ""


def text_of(path, size=16384):
    try:
        with Path(path).open("rb") as file:
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def named(names, line, mark):
    return {name: cell.strip() for name, cell in zip(names, line.split(mark))}  # noqa: B905 - newer than this file


def host():
    """Raw facts, which workbench.core.host makes a HostSpec of."""
    memory = {}
    for line in text_of("/proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            memory[words[0].rstrip(":")] = int(words[1]) * 1024
    cores = set()
    for path in sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")):
        core = [text_of(path / "topology" / name).strip() for name in ("physical_package_id", "core_id")]
        if all(core):
            cores.add(tuple(core))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": platform.node(),
        "cpuinfo": text_of("/proc/cpuinfo").split("\n\n", 1)[0],
        "processor": platform.processor() or platform.machine(),
        "physical_cores": len(cores) or None,
        "logical_cores": os.cpu_count() or 1,
        "usable_cores": usable or 1,
        "memory_total_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable"),
        "memory_limit": text_of("/sys/fs/cgroup/memory.max").strip(),
        "memory_used": text_of("/sys/fs/cgroup/memory.current").strip(),
        "os": " ".join([platform.system(), platform.release(), platform.machine()]),
    }


def gpus():
    """Rows of nvidia-smi, and why there are none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return {"rows": [], "problem": "nvidia-smi is not there"}
    code, out, said = run([program, "--query-gpu=" + _GPU_FIELDS, "--format=csv,noheader,nounits"])
    if code != 0:
        return {"rows": [], "problem": "nvidia-smi: " + said}
    names = _GPU_FIELDS.split(",")
    rows = [named(names, line, ",") for line in out.splitlines() if line.count(",") == len(names) - 1]
    return {"rows": rows, "problem": "" if rows else "nvidia-smi lists no GPU"}


def folder(path):
    """Whether a folder can be made and written, and its free bytes."""
    place = Path(path)
    while not place.is_dir() and place.parent != place:
        if place.exists():
            return {"path": path, "free_bytes": None, "problem": f"{place} is a file"}
        place = place.parent
    found = {"path": path, "free_bytes": None, "problem": ""}
    try:
        stat = os.statvfs(str(place))
        found["free_bytes"] = stat.f_bavail * stat.f_frsize
    except OSError as error:
        found["problem"] = str(error)
    if not found["problem"] and not os.access(str(place), os.W_OK | os.X_OK):
        found["problem"] = f"{place} may not be written"
    return found


def pythons(wanted, packages):
    """Part -> the interpreter for it, its packages' versions, or the reason why it cannot be asked."""
    found, asked = {}, {}
    for part, name in wanted.items():
        path = shutil.which(str(Path(name).expanduser()) if name.startswith("~") else name)
        if path is None:
            found[part] = {"executable": name, "versions": {}, "problem": f"{name} is not there"}
            continue
        if path not in asked:
            code, out, said = run([path, "-c", _VERSIONS, *packages])
            try:
                asked[path] = dict(json.loads(out), problem="") if code == 0 else None
            except ValueError:
                asked[path] = None
            if asked[path] is None:
                asked[path] = {"executable": path, "versions": {}, "problem": said or "it said nothing"}
        found[part] = dict(asked[path], executable=path)
    return found


def slurm(partition):
    """What sinfo says of the partition, or of the default one."""
    code, out, said = run(["sbatch", "--version"])
    if code is None or code != 0:
        return {"version": "", "partitions": [], "problem": "sbatch: " + said}
    version = out.strip()
    argv = ["sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G|%T"] + (["-p", partition] if partition else [])
    code, out, said = run(argv)
    if code != 0:
        return {"version": version, "partitions": [], "problem": "sinfo: " + said}
    names = ["name", "state", "time_limit", "nodes", "cpus", "memory_mb", "gres", "node_state"]
    rows = [named(names, line, "|") for line in out.splitlines() if line.count("|") == len(names) - 1]
    return {"version": version, "partitions": rows, "problem": ""}


def rsync():
    code, out, _ = run(["rsync", "--version"])
    words = out.split()
    return words[words.index("version") + 1] if code == 0 and "version" in words else ""


def look(asked):
    """All of it. `asked`: folder, pythons (part -> interpreter), packages, home, slurm, partition."""
    answer = {
        "schema": SCHEMA,
        "python": ".".join(map(str, sys.version_info[:3])),
        "host": host(),
        "gpus": gpus(),
        "rsync": rsync(),
        "folder": folder(asked["folder"]) if asked.get("folder") else None,
        "home_seen": Path(asked["home"]).is_dir() if asked.get("home") else None,
        "pythons": pythons(asked.get("pythons") or {}, asked.get("packages") or []),
    }
    if asked.get("slurm"):
        answer["slurm"] = slurm(asked.get("partition") or "")
    return answer


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})))
