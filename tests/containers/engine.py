"""A stand-in for container engines. It writes its calls down and runs the programs without any
container, so that tests see the command line, the environment and the end of everything.

It is Apptainer under the name apptainer, which runs a program as its own child. Under any other name
it is Docker: its daemon runs the programs, and knows nothing of the client's life.

Beside it lie calls.jsonl, and for Docker images.json (names that are here, and what is said of them)
and registry.json (what can be fetched).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
NAME = os.path.basename(sys.argv[0])
# Flags with a value.
VALUED = {
    "--name", "--pull", "--log-driver", "--cap-drop", "--security-opt", "--workdir", "--network",
    "--mount", "--user", "--userns", "--group-add", "--env", "--entrypoint", "--gpus", "--device",
    "--pwd", "--home",
}


def path(name):
    return os.path.join(HERE, name)


def known(name):
    if not os.path.exists(path(name)):
        return {}
    with open(path(name)) as file:
        return json.load(file)


def fail(words, code=1):
    print(words, file=sys.stderr)
    sys.exit(code)


def split(words):
    """Flags by name (a list of values each), and the words from the image on."""
    flags = {}
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        flags.setdefault(flag, []).append(words.pop(0) if flag in VALUED else True)
    return flags, words


def check_mounts(flags):
    for mount in flags.get("--mount", []):
        fields = dict(field.split("=", 1) for field in mount.split(",") if "=" in field)
        if fields["type"] != "bind" or fields["src"] != fields["dst"] or not os.path.exists(fields["src"]):
            fail(f"invalid mount: {mount}", 125)


def apptainer(words):
    words = words[1:] if words[0] == "--silent" else words
    if words[0] == "--version":
        print("apptainer version 1.3.4")
    elif words[0] == "pull":
        with open(words[2], "w") as file:
            file.write(words[3])
    elif words[0] == "exec":
        flags, rest = split(words[1:])
        check_mounts(flags)
        if not os.path.isfile(rest[0]):
            fail(f"could not open image {rest[0]}", 255)
        prefix = "APPTAINERENV_"
        inside = {key[len(prefix):]: value for key, value in os.environ.items() if key.startswith(prefix)}
        inside["HOME"] = flags["--home"][0].split(":")[1]
        inside.setdefault("PATH", "/usr/bin:/bin")
        os.chdir(flags["--pwd"][0])
        os.execvpe(rest[1], rest[1:], inside)
    else:
        fail(f"unknown command {words[0]}")


def container_file(name):
    return path(f"containers/{name}")


def process(name):
    try:
        with open(container_file(name)) as file:
            return int(file.read())
    except (OSError, ValueError):
        fail(f"Error: No such container: {name}")


def to_group(name, number):
    try:
        os.killpg(process(name), number)
    except ProcessLookupError:
        fail(f"Error: {name} is not running")


def docker_run(words):
    flags, rest = split(words)
    check_mounts(flags)
    if rest[0] not in known("images.json"):
        fail(f"Error: No such image: {rest[0]}", 125)
    inside = {}
    for variable in flags.get("--env", []):
        name, _, value = variable.partition("=")
        inside[name] = value if "=" in variable else os.environ[name]
    inside.setdefault("PATH", "/usr/bin:/bin")
    order = {
        "name": flags["--name"][0],
        "words": flags["--entrypoint"] + rest[1:],
        "environment": inside,
        "folder": flags["--workdir"][0],
    }
    name = order["name"]
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(process(name), signal.SIGTERM))
    with socket.socket(socket.AF_UNIX) as line:
        os.chdir(HERE)
        line.connect("daemon")
        socket.send_fds(line, [json.dumps(order).encode()], [1, 2])
        sys.exit(json.loads(line.makefile().read()))


def serve(line):
    text, ends, _, _ = socket.recv_fds(line, 1 << 20, 2)
    order = json.loads(text)
    try:
        child = subprocess.Popen(
            order["words"], env=order["environment"], cwd=order["folder"], stdin=subprocess.DEVNULL,
            stdout=ends[0], stderr=ends[1], start_new_session=True,
        )
    except OSError as error:
        os.write(ends[1], f"{error}\n".encode())
        line.sendall(b"127")
        line.close()
        return
    with open(container_file(order["name"]), "w") as file:
        file.write(str(child.pid))
    code = child.wait()
    # The end of a container's first process ends the others.
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for end in ends:
        os.close(end)
    try:
        os.remove(container_file(order["name"]))
    except FileNotFoundError:
        pass
    try:
        line.sendall(str(code if code >= 0 else 128 - code).encode())
    except OSError:
        pass
    line.close()


def daemon():
    os.makedirs(path("containers"), exist_ok=True)
    os.chdir(HERE)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("daemon")
    listener.listen()
    while True:
        line, _ = listener.accept()
        threading.Thread(target=serve, args=(line,), daemon=True).start()


def docker(words):
    if words[:1] == ["daemon"]:
        daemon()
    elif words[:1] == ["--version"]:
        print("Docker version 28.2.2, build e6534b4")
    elif words[0] in ("info", "version"):
        if not os.path.exists(path("daemon")):
            fail("Cannot connect to the Docker daemon")
        print("[name=seccomp]")
    elif words[:2] == ["image", "inspect"]:
        said = known("images.json").get(words[4])
        print(said) if said is not None else fail(f"Error: No such image: {words[4]}")
    elif words[0] == "pull":
        if words[1] not in known("registry.json"):
            fail(f"Error: manifest for {words[1]} not found")
        images = dict(known("images.json"), **{words[1]: words[1]})
        with open(path("images.json"), "w") as file:
            json.dump(images, file)
        print(f"Status: Downloaded {words[1]}")
    elif words[0] == "run":
        docker_run(words[1:])
    elif words[:2] == ["container", "inspect"]:
        print(process(words[4]))
    elif words[0] == "kill":
        to_group(words[3], getattr(signal, f"SIG{words[2]}"))
    elif words[0] in ("pause", "unpause"):
        to_group(words[1], signal.SIGSTOP if words[0] == "pause" else signal.SIGCONT)
    elif words[0] == "ps":
        print("\n".join(os.listdir(path("containers"))))
    elif words[0] == "rm":
        if os.path.exists(container_file(words[2])):
            os.remove(container_file(words[2]))
    else:
        fail(f"unknown command {words[0]}")


def main():
    words = sys.argv[1:]
    if words[:1] != ["daemon"]:
        with open(path("calls.jsonl"), "a") as file:
            file.write(json.dumps({"words": words}) + "\n")
    (apptainer if NAME == "apptainer" else docker)(words)


main()
