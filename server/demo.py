"""make demo: serve a repository on free ports, classify photographs through it, stop.

python server/demo.py .demo/models build/alexnet_build/photographs
"""

import json
import subprocess
import sys
import urllib.request

from alexnet_server import running_server

repository, photographs = sys.argv[1:]
with running_server(repository) as server:
    with urllib.request.urlopen(f"{server.http_url}/v2", timeout=10) as answer:
        about = json.load(answer)
    print(f"{about['name']} {about['version']} serves {repository} at {server.grpc_url}\n", flush=True)
    classify = [
        sys.executable,
        "-m",
        "alexnet_client",
        "classify",
        "--url",
        server.grpc_url,
        "--concurrency",
        "1",
        photographs,
    ]
    done = subprocess.run(classify)
sys.exit(done.returncode)
