"""The first program on the far side: what there is, told by whatever Python is there, however old."""

PROBE = r"""
import json, os, socket, subprocess, sys
folder, worker, code = sys.argv[1:4]
found = {"version": list(sys.version_info[:3]), "host": socket.gethostname(), "folder": folder, "problem": ""}
os.umask(63)
try:
    for path in (folder, code):
        if path and not os.path.isdir(path):
            os.makedirs(path, 448)
    if code:
        mark = os.path.join(os.path.dirname(code), ".used-" + os.path.basename(code))
        open(mark, "w").close()
        os.utime(mark, None)
    mark = os.path.join(folder, ".workbench-%d" % os.getpid())
    open(mark, "w").close()
    own = os.stat(mark).st_uid
    os.unlink(mark)
    for name in ("code", "inputs", "made", "kept", "runs", code):
        path = os.path.join(folder, name)
        if name and os.path.isdir(path):
            about = os.stat(path)
            if about.st_uid != own:
                found["foreign"] = path
            elif about.st_mode & 18:
                os.chmod(path, 448)
    disk = os.statvfs(folder)
    found["free_bytes"] = disk.f_bavail * disk.f_frsize
except (OSError, IOError) as error:
    found["problem"], found["errno"] = str(error), error.errno
found["code"] = os.path.exists(os.path.join(code, ".complete"))
places = os.environ.get("PATH", "").split(os.pathsep)
found["rsync"] = any(os.access(os.path.join(place, "rsync"), os.X_OK) for place in places)
try:
    out = subprocess.check_output([worker, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"])
    found["worker_python"] = out.decode().strip()
except Exception as error:
    found["worker_problem"] = str(error)
sys.stdout.write("@keeper " + json.dumps(found) + "\n")
"""
"""`python -c PROBE FOLDER WORKER_PYTHON CODE_FOLDER`: one `@keeper {json}` line. Python 2.7 reads it too, so that an
old one is told from none."""
